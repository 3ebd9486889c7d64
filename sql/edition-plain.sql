-- PostgreSQL without TimescaleDB: the tables of the migrations are all there is. The marker says
-- which edition was set up, so that a later start on a higher one knows to move up.
insert into settings values ('edition', 'plain')
on conflict (name) do update set value = excluded.value;
