-- Definitions, and what \d and its like say about them.
create schema shop;
set search_path = shop;
create type mood as enum ('sad', 'ok', 'happy');
create type pair as (a int, b text);
create type span as range (subtype = float8);
create domain positive as int check (value > 0) not null default 1;
create sequence numbers increment by 5 start 10 maxvalue 100 cycle;
create table customers (id int generated always as identity primary key, name text not null, mood mood default 'ok', at timestamptz, extra jsonb, constraint short check (length(name) < 100));
comment on table customers is 'those who buy';
comment on column customers.name is 'as they write it';
create table orders (id bigint primary key default nextval('numbers'), customer int references customers on delete cascade, total numeric(10, 2), placed date, tags text[], double numeric generated always as (total * 2) stored);
create unique index on orders (customer, placed) where total > 0;
create index by_total on orders using btree (total desc nulls last) include (placed);
create index by_tags on orders using gin (tags);
create table parts (id int, at date) partition by range (at);
create table parts_2026 partition of parts for values from ('2026-01-01') to ('2027-01-01');
create table parts_rest partition of parts default;
create table kid (extra int) inherits (customers);
create view recent as select id, total from orders where placed > '2026-01-01';
create materialized view totals as select customer, sum(total) from orders group by customer with no data;
create function add(a int, b int default 1, out c int) language sql immutable as 'select a + b';
create function many(variadic n int[]) returns setof int language plpgsql as $$ begin return query select unnest(n); end $$;
create procedure done(inout x int) language plpgsql as $$ begin x := x + 1; end $$;
create aggregate product (int) (sfunc = int4mul, stype = int, initcond = 1);
create operator === (leftarg = int, rightarg = int, function = int4eq);
create cast (mood as int) with inout;
create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create statistics both (dependencies) on customer, placed from orders;
create function touched() returns trigger language plpgsql as $$ begin new.placed := coalesce(new.placed, '2026-06-01'); raise notice '% on %', tg_op, tg_table_name; return new; end $$;
create trigger touch before insert or update on orders for each row execute function touched();
create rule no_delete as on delete to recent do instead nothing;
create policy own_rows on customers for select using (name = current_user);
alter table customers enable row level security;
create publication everything for table orders;
create text search configuration plain (copy = simple);
grant select on orders to public;
alter default privileges in schema shop grant select on tables to public;
\d
\d+
\d customers
\d+ customers
\d orders
\d+ orders
\d parts
\d+ parts
\d parts_2026
\d kid
\d recent
\d+ recent
\d+ totals
\d numbers
\d by_total
\d pair
\d mood
\d no_such_thing
\dt
\dt+ shop.*
\di
\ds
\dv
\dm
\dn shop
\dn+ shop
\dT
\dT+ shop.*
\dD
\df
\df+ add
\df many
\dfp
\dft
\da shop.*
\do shop.*
\dC mood
\dO shop.*
\dX
\dp
\z orders
\ddp
\dd
\dRp
\dRp+ everything
\dRs
\dF shop.*
\dFd simple
\dFp
\dFt simple
\dL
\dL plpgsql
\dx
\dA btree
\dAc btree int4
\dAf btree int4
\dAo btree int4_ops
\dAp btree int4_ops
\db
\dc utf8_to_big5
\dconfig work_mem
\det
\deu
\dew
\des
\dE
\dl
\dy
\dg app
\du app
\drds
\dP
\dP+
\sf add
\sf+ touched
\sv recent
\sv+ recent
\sf nothing
\d public.*.*.*
insert into customers (name, extra) values ('Ada', '{"vip": true}'), ('Bob', null) returning *;
insert into customers overriding system value values (77, 'Eve', 'happy', '2026-01-01 00:00+00') returning id, mood;
insert into orders (customer, total) values (1, 10), (2, 20.50) returning *;
insert into orders (customer, total, placed) values (1, 5, '2026-02-02') on conflict do nothing;
insert into orders (id, customer, total) values (10, 1, 99) on conflict (id) do update set total = excluded.total returning total;
update orders set total = total * 2 where customer = 2 returning id, total, double;
delete from recent;
merge into orders o using (values (10, 1.0), (9999, 2.0)) as s (id, t) on o.id = s.id when matched then update set total = s.t when not matched then insert (id, total) values (s.id, s.t);
select * from orders order by id;
select add(1), add(1, 2), product(n) from generate_series(1, 4) n;
select * from many(3, 1, 2);
call done(41);
select 1 === 1, 'happy'::mood > 'sad', '(1,x)'::pair, span(1, 2);
select * from parts, lateral (select parts.id + 1) as l (next);
insert into parts values (1, '2026-05-05'), (2, '1999-01-01');
select tableoid::regclass, * from parts order by id;
refresh materialized view totals;
table totals order by 1;
explain (costs off) select * from orders where id = 10;
explain (costs off, verbose, format json) select count(*) from customers join orders on customer = customers.id;
explain (analyze, costs off, timing off, summary off, buffers off) select * from customers where name = 'Ada';
analyze customers;
vacuum orders;
vacuum (verbose false, analyze) customers;
reindex table orders;
cluster orders using orders_pkey;
alter table orders add column note text default 'none', alter column placed set not null;
alter table orders rename column note to remark;
alter table orders rename to sales;
alter type mood add value 'great' after 'happy';
alter table customers disable row level security;
comment on function add is 'adds';
security label on table sales is 'none';
lock table sales in share mode;
truncate sales restart identity cascade;
drop table customers;
drop publication everything;
drop schema shop;
drop schema shop cascade;
reset search_path;
