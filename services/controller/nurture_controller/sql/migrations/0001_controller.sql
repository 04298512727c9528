-- migrate:up
-- Published versions are never changed: an enrolment keeps the version it began with.
create table sequences (
    id uuid primary key,
    type text not null,
    version int not null,
    definition jsonb not null,
    toml text not null,
    published_at timestamptz not null,
    unique (type, version)
);

-- The inbox of commands and their answers: a redelivered command finds its result and is not evaluated again.
create table command_results (
    command_id uuid primary key,
    status int not null,
    result jsonb not null,
    at timestamptz not null
);

-- A cancel that overtakes its start waits here for it.
create table cancelled_starts (command_id uuid primary key, at timestamptz not null);

-- A start for many people: resolved once, then worked off by cursor, a page a transaction.
create table start_jobs (
    command_id uuid primary key,
    sequence_id uuid not null references sequences,
    sequence_type text not null,
    user_ids uuid[] not null,
    cursor int not null default 0,
    context jsonb not null,
    override_channel text,
    started int not null default 0,
    running int not null default 0,
    refused_by_reason jsonb not null default '{}',
    refused jsonb not null default '[]',
    at timestamptz not null,
    done boolean not null default false
);
create index start_jobs_open on start_jobs (at) where not done;

create table enrolments (
    id uuid primary key,
    command_id uuid not null,
    user_id uuid not null,
    -- No foreign key: published versions are never deleted, and the check would cost a quarter of the insert.
    sequence_id uuid not null,
    sequence_type text not null,
    step smallint not null,
    next_at timestamptz,
    state text not null default 'active' check (state in ('active', 'completed', 'cancelled', 'failed')),
    context jsonb not null default '{}',
    override_channel text,
    last_delivery_id uuid,
    started_at timestamptz not null,
    ended_at timestamptz,
    ended_reason text,
    unique (command_id, user_id)
);
create unique index enrolments_running on enrolments (user_id, sequence_type) where state = 'active';
-- The tick's question: who is due?
create index enrolments_due on enrolments (next_at) where state = 'active';
create index enrolments_active on enrolments (id) where state = 'active';

-- Narrow and hot: facts only. A fact is the earliest time of its kind; the status is a function of the facts.
create table deliveries (
    id uuid primary key,
    enrolment_id uuid not null,
    user_id uuid not null,
    sequence_type text not null,
    step smallint not null,
    channel text not null check (channel in ('email', 'telegram')),
    round smallint not null default 0,
    scheduled_at timestamptz not null,
    created_at timestamptz not null,
    sent_at timestamptz,
    delivered_at timestamptz,
    opened_at timestamptz,
    clicked_at timestamptz,
    bounced_at timestamptz,
    complained_at timestamptz,
    failed_at timestamptz,
    suppressed_at timestamptz,
    cancelled_at timestamptz,
    expired_at timestamptz,
    unknown_at timestamptz,
    failure_reason text,
    provider_id text,
    attempts smallint not null default 0,
    status text not null generated always as (case
        when complained_at is not null then 'complained'
        when bounced_at is not null then 'bounced'
        when clicked_at is not null then 'clicked'
        when opened_at is not null then 'opened'
        when delivered_at is not null then 'delivered'
        when sent_at is not null then 'sent'
        when failed_at is not null then 'failed'
        when suppressed_at is not null then 'suppressed'
        when cancelled_at is not null then 'cancelled'
        when expired_at is not null then 'expired'
        when unknown_at is not null then 'unknown'
        else 'pending' end) stored,
    -- The open index asks this and not the status, so that later facts need no index entry (HOT, with room in the page).
    unsettled boolean not null generated always as (
        complained_at is null and bounced_at is null and clicked_at is null and opened_at is null and delivered_at is null
        and sent_at is null and failed_at is null and suppressed_at is null and cancelled_at is null and expired_at is null
        and unknown_at is null) stored,
    unique (enrolment_id, step, channel, round)
) with (fillfactor = 70);
create index deliveries_open on deliveries (scheduled_at) where unsettled;
create index deliveries_of_user on deliveries (user_id, id);

-- What was decided and with which words: written once, never changed.
create table delivery_contents (
    delivery_id uuid primary key,
    address text not null,
    template text not null,
    subject text not null,
    body text not null,
    params jsonb not null,
    decision jsonb not null,
    expires_at timestamptz not null
);

-- Inbox, log and timeline in one. An event without a delivery waits for its provider id to become known.
create table delivery_events (
    event_id uuid primary key,
    delivery_id uuid,
    provider_id text,
    kind text not null,
    at timestamptz not null,
    detail jsonb not null default '{}',
    received_at timestamptz not null default now()
);
create index delivery_events_of_delivery on delivery_events (delivery_id, at);
create index delivery_events_waiting on delivery_events (provider_id) where delivery_id is null;
create index delivery_events_provider on delivery_events (provider_id) where kind = 'sent';

-- How far each consumer had come when the topology was last healthy.
create table topology_floors (
    durable text primary key,
    stream text not null,
    floor bigint not null,
    seen_at timestamptz not null default now()
);
