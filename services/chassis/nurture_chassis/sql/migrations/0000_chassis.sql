-- migrate:up
-- Applied to every room's schema before the room's own migrations: the tables that the chassis' queries use.
create table outbox (
    id uuid not null,
    subject text not null,
    payload bytea not null,
    headers jsonb not null default '{}',
    created_at timestamptz not null default now(),
    published_at timestamptz,
    primary key (id, created_at)
) partition by range (created_at);
create table outbox_rest partition of outbox default;
create index outbox_unpublished on outbox (created_at) where published_at is null;

-- Services own no tables; this lets them make tomorrow's partitions and drop those older than the retention.
create function rotate_outbox() returns int language plpgsql security definer set search_path from current as $$
declare
    home text := quote_ident(current_schema());
    day date;
    part text;
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
        execute format('drop table %s.%I', home, part);
        touched := touched + 1;
    end loop;
    execute format('delete from %s.outbox_rest where created_at < now() - interval ''8 days'' and published_at is not null', home);
    return touched;
end $$;

create table dead_letters (
    id uuid primary key,
    durable text not null,
    subject text not null,
    payload bytea not null,
    headers jsonb not null default '{}',
    reason text not null,
    at timestamptz not null default now(),
    replayed_at timestamptz
);

create table pace (
    account text primary key,
    next_at timestamptz not null,
    interval_seconds float8 not null,
    parked_until timestamptz,
    park_reason text
);

create table leases (name text primary key, holder text not null, until timestamptz not null);
