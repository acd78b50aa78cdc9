-- Large rows, many rows, wide rows, large objects.
\pset pager off
select g, md5(g::text), repeat('r', g % 97) from generate_series(1, 3000) g;
\pset format unaligned
select repeat('x', 1000000);
select repeat('ü', 300000) from generate_series(1, 3);
select string_agg(g::text, ',') from generate_series(1, 20000) g;
select g from generate_series(1, 50000) g;
select array_agg(g) from generate_series(1, 5000) g;
select jsonb_agg(jsonb_build_object('n', g, 't', repeat('j', 20))) from generate_series(1, 1000) g;
select decode(repeat('00ff', 100000), 'hex');
select 'select ' || string_agg(g || ' as c' || g, ', ') from generate_series(1, 1600) g \gexec
select 'select ''' || repeat('long literal ', 50000) || ''' = ''x''' \gexec
\pset format aligned
\set FETCH_COUNT 777
select g, repeat('f', g % 50) from generate_series(1, 5000) g;
\set FETCH_COUNT 0
select lo_from_bytea(990001, 'the beginning');
select lo_put(990001, 4, '\x00ff00');
select lo_get(990001), lo_get(990001, 0, 3);
begin;
select lo_open(990001, x'60000'::int);
select loread(0, 5);
select lo_lseek(0, 0, 2), lo_tell(0);
select lowrite(0, ' and the end');
select lo_truncate(0, 10);
select lo_close(0);
select lo_close(0);
commit;
select lo_get(990001);
select lo_create(990001);
comment on large object 990001 is 'mine';
grant select on large object 990001 to public;
\dl
\lo_list
\lo_list+
select lo_unlink(990001);
select lo_get(990001);
select count(lo_unlink(oid)) > 0 from pg_largeobject_metadata where lomowner = current_user::regrole;
set client_encoding = 'LATIN1';
select 'only ascii', chr(252);
select chr(8364);
\encoding
\encoding UTF8
select chr(8364);
set client_encoding = 'SQL_ASCII';
select 'ü';
set client_encoding = 'WIN1252';
select length('x');
reset client_encoding;
show client_encoding;
set standard_conforming_strings = off;
select 'a\tb', 'quote\'d';
set standard_conforming_strings = on;
select 'a\tb';
set extra_float_digits = -3;
select 0.1::float8 / 3;
reset extra_float_digits;
set application_name = 'mine';
set lc_messages = 'C';
select 'last';
