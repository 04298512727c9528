-- migrate:up
create table users (
    id uuid primary key,
    external_id text unique,
    first_name text not null default '',
    timezone text not null default 'UTC',
    locale text not null default 'en',
    attributes jsonb not null default '{}',
    preferred_channel text check (preferred_channel in ('email', 'telegram')),
    preferred_time text not null default 'morning',
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index users_newest on users (created_at desc, id desc);
create index users_external_prefix on users (external_id text_pattern_ops);
create index users_name_prefix on users (lower(first_name) text_pattern_ops);

-- A removed address keeps its row, so that a refusal outlives the address it was given for.
create table contacts (
    user_id uuid not null references users on delete cascade,
    channel text not null check (channel in ('email', 'telegram')),
    address text,
    address_key text,
    state text not null default 'ok' check (state in ('ok', 'bounced', 'complained', 'suppressed', 'blocked')),
    reason text,
    consent text not null default 'granted' check (consent in ('granted', 'refused')),
    consent_at timestamptz,
    changed_at timestamptz not null,
    primary key (user_id, channel),
    unique (channel, address_key),
    check ((address is null) = (address_key is null)),
    check (address is not null or state <> 'ok')
);
create index contacts_address_prefix on contacts (address_key text_pattern_ops);

create table commands (
    id uuid primary key,
    kind text not null check (kind in ('trigger', 'cancel', 'publish')),
    request jsonb not null,
    state text not null default 'accepted' check (state in ('accepted', 'settled')),
    status int,
    result jsonb,
    refused_early jsonb not null default '[]',
    created_at timestamptz not null default now(),
    settled_at timestamptz,
    expires_at timestamptz not null default now() + interval '7 days',
    check ((state = 'settled') = (status is not null))
);

create table idempotency_keys (
    scope text not null,
    key text not null,
    body_hash bytea not null,
    status int,
    body bytea,
    location text,
    command_id uuid references commands on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null default now() + interval '7 days',
    primary key (scope, key)
);
create index idempotency_keys_expiry on idempotency_keys (expires_at);
create index idempotency_keys_command on idempotency_keys (command_id) where command_id is not null;

create table inbound_pages (
    id uuid primary key,
    kind text not null check (kind in ('webhooks', 'hits')),
    items jsonb not null,
    received_at timestamptz not null default now()
);
create index inbound_pages_age on inbound_pages (received_at);

create table test_messages (
    id uuid primary key,
    address text not null,
    user_name text not null,
    template text not null,
    requested_at timestamptz not null,
    sent_at timestamptz,
    delivered_at timestamptz,
    opened_at timestamptz,
    clicked_at timestamptz,
    bounced_at timestamptz,
    failed_at timestamptz,
    failure_reason text
);
