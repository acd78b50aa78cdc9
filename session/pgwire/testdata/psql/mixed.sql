-- A little of everything, as typed.
create temp table t (id serial primary key, name text not null, at date default '2026-01-01', data bytea, doc jsonb);
insert into t (name) select 'n' || g from generate_series(1, 5) g returning id, name;
\d t
\d+ t
\dn
\df pg_catalog.lower
\l orders
\x on
select * from t where id = 1;
\x off
\pset null '<null>'
\timing off
select null, '', ' ', E'a\tb\nc', 'ü€漢', 1.5::float8, array[1,2,3], '{"a":1}'::jsonb;
select 1 as a \; select 2 as b \; select 3 as c;
select 1/0;
select 1; select * from missing; select 2;
begin; savepoint s; insert into t (name) values (null); rollback to s; select count(*) from t; commit;
begin; select bad; select 1; commit;
prepare p (int) as select name from t where id = $1; execute p (2); deallocate p;
declare c cursor for select 1;
begin; declare c cursor with hold for select id from t order by id; fetch 2 from c; move 1 in c; fetch all from c; commit; close c;
do $$ begin raise notice 'n %', 1; raise warning 'w'; raise exception 'e' using hint = 'h', detail = 'd', errcode = 'P0042'; end $$;
\echo :SQLSTATE :ERROR :ROW_COUNT :LAST_ERROR_MESSAGE
copy t (name) from stdin;
copied 1
copied 2
\.
copy t (name) to stdout with csv header;
copy (select repeat('x', 10)) to stdout;
copy t (name) from stdin;
\N
\.
\copy (select 42) to stdout
select count(*) from t \gset got_
\echo :got_count
select format('select %s', g) from generate_series(1, 3) g \gexec
select 1 as one, 2 as two \gx
select 1 as r, 2 as c, 3 as v \crosstabview
select id, name from t limit 0;
\gdesc
select 1, 'x'::text \gdesc
set datestyle = 'German'; select date '2026-01-31'; set client_encoding = 'LATIN1'; select 'e'; reset client_encoding;
show server_encoding;
listen a; notify a, 'payload'; select 1; unlisten *;
explain (costs off) select * from t;
vacuum; analyze t; checkpoint;
\set FETCH_COUNT 2
select id from t order by id;
\unset FETCH_COUNT
select repeat('long', 10000);
select g, repeat('w', g) from generate_series(1, 300) g;
\bind
create function f() returns setof int language sql as 'values (1), (2)'; select f(); drop function f();
lock table t; set transaction_read_only = 5; reset all; discard all;
;
select 'last'
