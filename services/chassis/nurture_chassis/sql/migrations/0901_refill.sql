-- migrate:up
-- A wiped or rewound bus is filled again from here: rows published since then become unpublished, each loss once.
-- `redrive` is the loss that a row was published again for; it makes another message id, since a purged stream still
-- knows the old one.
alter table outbox add column redrive bigint not null default 0;

-- The last loss that this room has answered. A mark says which one its publisher knew of; an older one counts for nothing.
create table refilled (
    one boolean primary key default true check (one),
    n bigint not null,
    at timestamptz not null default now()
);
insert into refilled (n) values (0);

-- As before, but a day is kept as long as it holds something that never got out.
create or replace function rotate_outbox() returns int language plpgsql security definer set search_path from current as $$
declare
    home text := quote_ident(current_schema());
    day date;
    part text;
    waiting boolean;
    touched int := 0;
begin
    for ahead in 1..3 loop
        day := (now() at time zone 'utc')::date + ahead;
        part := 'outbox_' || to_char(day, 'YYYYMMDD');
        if to_regclass(home || '.' || part) is null then
            execute format('create table %s.%I partition of %s.outbox for values from (%L) to (%L)',
                home, part, home, day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
            touched := touched + 1;
        end if;
    end loop;
    for part in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = (home || '.outbox')::regclass and c.relname ~ '^outbox_[0-9]{8}$'
          and to_date(right(c.relname, 8), 'YYYYMMDD') < (now() at time zone 'utc')::date - 8
    loop
        execute format('select exists (select from %s.%I where published_at is null)', home, part) into waiting;
        if not waiting then
            execute format('drop table %s.%I', home, part);
            touched := touched + 1;
        end if;
    end loop;
    execute format('delete from %s.outbox_rest where created_at < now() - interval ''8 days'' and published_at is not null', home);
    return touched;
end $$;
