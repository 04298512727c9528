-- migrate:up
-- The canary of each channel that has one: who it is, how its last start went, and when one last arrived. Times are the
-- database's own. Rows of channels without a canary are removed when a gateway starts.
create table canaries (
    channel text primary key check (channel in ('email', 'telegram')),
    user_id uuid not null unique,
    address text not null,
    since timestamptz not null default now(),
    command_id uuid,
    triggered_at timestamptz,
    sent_at timestamptz,
    arrived_at timestamptz,
    outcome text,
    reason text,
    last_arrival_at timestamptz,
    sent_seconds float8,
    arrival_seconds float8,
    check ((command_id is null) = (triggered_at is null) and (command_id is null) = (outcome is null))
);
