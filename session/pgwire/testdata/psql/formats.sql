-- Every way in which psql lays out the same rows.
create temp table shown (id int, name text, at date, amount numeric(8, 2));
insert into shown values (1, 'one', '2026-01-01', 1.00), (2, E'two\nlines', null, 22.20), (3, 'trés | long', '2026-03-03', -333.33), (4, '', null, null);
select * from shown order by id;
\pset format unaligned
select * from shown order by id;
\pset fieldsep '\t'
select * from shown order by id;
\pset recordsep '~'
select * from shown order by id;
\pset recordsep '\n'
\pset format csv
select * from shown order by id;
\pset csv_fieldsep ';'
select * from shown order by id;
\pset format html
select * from shown order by id;
\pset format latex
select * from shown order by id;
\pset format asciidoc
select * from shown order by id;
\pset format troff-ms
select * from shown order by id;
\pset format wrapped
\pset columns 30
select * from shown order by id;
\pset format aligned
\pset border 0
select * from shown order by id;
\pset border 2
select * from shown order by id;
\pset linestyle unicode
select * from shown order by id;
\pset linestyle ascii
\pset border 1
\pset null '(null)'
select * from shown order by id;
\pset numericlocale on
select 1234567.891;
\pset numericlocale off
\pset tuples_only on
select * from shown order by id;
\pset tuples_only off
\pset footer off
select * from shown order by id;
\pset footer on
\pset title 'A title'
select * from shown order by id;
\pset title
\x auto
select * from shown order by id;
\x on
select * from shown order by id;
select 1 where false;
\x off
\a
select * from shown order by id;
\a
\t
select count(*) from shown;
\t
\C 'Caption'
select 1;
\C
\f
\H
select 1;
\H
\T 'x=y'
\T
select id, amount from shown order by id \g (format=unaligned tuples_only=on)
select id, amount from shown order by id \gx
select id, amount from shown order by id \gx (border=2)
select id, amount from shown order by id \g | cat
\echo `echo a shell`
\encoding
\pset
