-- migrate:up
-- What each stream held when it was last found whole; another history under the same name shows by it.
create table topology_streams (
    stream text primary key,
    created timestamptz not null,
    first_seq bigint not null,
    first_at timestamptz,
    last_seq bigint not null,
    last_at timestamptz,
    vanished bigint not null,
    seen_at timestamptz not null default now()
);

-- Up to when a consumer had heard everything: by our clock (what was published before), and by NATS' (its last message).
alter table topology_floors
    add column created timestamptz,
    add column consumed_at timestamptz,
    add column consumed_to timestamptz;

-- What the bus may have lost: of this subject, everything published since then (null: since ever). Rows stay, a service may be away for long.
create table bus_losses (
    n bigint generated always as identity primary key,
    stream text not null,
    subject text not null,
    since timestamptz,
    at timestamptz not null default clock_timestamp(),
    reason text not null
);
