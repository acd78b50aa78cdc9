-- psql's ways to send a query buffer.
select 1 as a \; select 2 as b \; select 3 as c;
select 1 as first \g
select 2 as second \gset
\echo :first :second
select 'x' as one, 'y' as two \gset pre_
\echo :pre_one :pre_two :'pre_one' :"pre_two"
select 1 where false \gset none_
select 1 from generate_series(1, 2) \gset many_
select format('select %s as v', g) from generate_series(1, 4) g \gexec
select 'select 1/0', 'select ''after the error''' \gexec
select 'create temp table made_' || g || ' (n int)' from generate_series(1, 3) g \gexec
select 1 as i, 'two' as t, 3.5::numeric(6, 2) as n, now() as ts, '{}'::text[] as ta \gdesc
insert into made_1 values (1) \gdesc
selec \gdesc
\gdesc
select 1 as r, 'a' as c, 10 as v union select 1, 'b', 20 union select 2, 'a', 30 order by 1, 2 \crosstabview
select 1 as r, 'a' as c, 10 as v union select 1, 'b', 20 order by 1, 2 \crosstabview c r v
select 1 as r, 'a' as c, 10 as v union all select 1, 'a', 20 \crosstabview
create temp sequence ticks;
select 10 / (3 - nextval('ticks')) as left \watch 0.01
\set x 42
select :x + 1, :'x', :"x";
\set q 'it''s'
select :'q';
\unset x
select :x;
\set ON_ERROR_STOP off
\if true
select 'yes';
\else
select 'no';
\endif
\if false
select 'not this';
\elif true
select 'elif';
\endif
\p
select 1
\p
\r
\p
select 'after reset';
\qecho to the query output
\warn to standard error
select 1/0;
\errverbose
\echo :ERROR :SQLSTATE :ROW_COUNT :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE
select generate_series(1, 5);
\echo :ERROR :SQLSTATE :ROW_COUNT
\set VERBOSITY verbose
select * from missing_relation;
\set VERBOSITY terse
select * from missing_relation;
\set VERBOSITY sqlstate
select * from missing_relation;
\set VERBOSITY default
\set SHOW_CONTEXT always
do $$ begin raise notice 'in context'; end $$;
\set SHOW_CONTEXT errors
\set SHOW_ALL_RESULTS off
select 'hidden' \; select 'shown';
\set SHOW_ALL_RESULTS on
\set ECHO queries
select 'echoed';
\set ECHO none
\set ECHO_HIDDEN on
\dn pg_catalog
\set ECHO_HIDDEN off
\set SINGLELINE on
select 'single line'
\set SINGLELINE off
\set QUIET on
create temp table quiet ();
\set QUIET off
\timing off
\nosuchcommand
\set FETCH_COUNT 3
select g from generate_series(1, 10) g;
select g, 1 / (8 - g) from generate_series(1, 10) g;
select 1 where false;
insert into made_1 select generate_series(1, 3) returning n;
update made_1 set n = n + 10;
\set FETCH_COUNT 0
\set AUTOCOMMIT off
select 'opens a transaction';
insert into made_1 values (99);
rollback;
select count(*) from made_1;
commit;
\set AUTOCOMMIT on
\set ON_ERROR_ROLLBACK on
begin;
select 1/0;
select 'goes on';
commit;
\set ON_ERROR_ROLLBACK off
\i testdata/psql/included.txt
\ir included.txt
\ir missing.txt
\! echo a program
\g
;
;;
/* only a comment */;
-- and this one
select /* inside /* nested */ */ 'comment';
select 'unterminated
string over lines';
select $f$
body; with; semicolons
$f$;
