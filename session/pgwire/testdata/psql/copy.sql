-- COPY in every direction and format, and all the ways in which it ends.
create temp table c (id int, name text, note text default 'default');
copy c (id, name) from stdin;
1	one
2	with\ttab and\nnewline
3	\N
4	back\\slash
\.
copy c from stdin with (format csv, header true);
id,name,note
5,"quoted, comma","says ""hi"""
6,,
\.
copy c (id, name) from stdin (format csv, delimiter ';', null 'NULL', quote '''');
7;'seven; semi';
\.
copy c (id, name) from stdin (format csv, delimiter ';', null 'NULL', quote '''');
8;NULL
9;'nine'
\.
copy c (id) from stdin where id > 10;
10
11
12
\.
copy c to stdout;
copy c to stdout csv;
copy c to stdout (format csv, header, force_quote *);
copy c to stdout (delimiter '|', null '~');
copy (select id, name from c where id < 4 order by id) to stdout;
copy (select 1 where false) to stdout;
copy (select) to stdout;
copy (select repeat('x', 70000)) to stdout;
copy (select g, md5(g::text) from generate_series(1, 500) g) to stdout;
copy c from stdin;
not a number	x	y
\.
copy c from stdin;
13
\.
copy c from stdin;
14	too	many	columns
\.
copy missing from stdin;
copy c (nothing) from stdin;
copy c from stdin (format nonsense);
copy c to stdout (format binary);
copy c to '/tmp/not/for/you';
copy c from program 'true';
copy (select 1/0) to stdout;
copy (select 1 / (5 - g) from generate_series(1, 10) g) to stdout;
select count(*), sum(id) from c;
begin;
copy c (id) from stdin;
100
\.
select count(*) from c;
rollback;
select count(*) from c;
begin;
copy c (id) from stdin;
bad
\.
select 1;
rollback;
\copy c (id, name) from pstdin
20	through psql
\.
\copy c to stdout
\copy (select id from c order by id limit 3) to pstdout csv header
\copy c (id) from program 'seq 30 33'
\copy (select count(*) from c) to program 'cat'
\copy c from program 'exit 3'
\copy missing to stdout
\copy nonsense
\copy c (id) from pstdin with csv
x
\.
copy c (id) from stdin \; copy c (id) from stdin \; select count(*) from c;
40
\.
41
\.
copy (select 1) to stdout \; copy (select 2) to stdout \; select 3;
select 1 \; copy c (id) from stdin \; select 1/0;
50
\.
select count(*) from c where id = 50;
create temp table checked (n int check (n > 0), t text);
copy checked (n) from stdin;
5
-5
\.
copy checked from stdin (freeze);
6	x
\.
create function pg_temp.refuse() returns trigger language plpgsql as $$ begin if new.n = 13 then raise exception 'unlucky % in a trigger', new.n; end if; raise notice 'took %', new.n; return new; end $$;
create trigger refuse before insert on checked for each row execute function pg_temp.refuse();
copy checked (n) from stdin;
11
12
13
14
\.
copy checked (n) from stdin;
21
\.
truncate c, checked;
copy c (id, name) from stdin;
\.
select count(*) from c;
