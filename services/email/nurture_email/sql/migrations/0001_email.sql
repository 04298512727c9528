-- migrate:up
-- The inbox of send commands, a row a page; a page without a claim waits.
create table pages (
    id uuid primary key,
    members uuid[] not null,
    test boolean not null default false,
    received_at timestamptz not null default clock_timestamp(),
    claim_id uuid
);
create index pages_waiting on pages (received_at, id) where claim_id is null;
create index pages_age on pages (received_at);

-- One request to the provider and all its attempts; the id is its idempotency key. `next_at` is when somebody has to look
-- at it again: the end of a retry's wait, or of the lease while one is held.
create table claims (
    id uuid primary key,
    members uuid[] not null,
    test boolean not null default false,
    state text not null default 'open' check (state in ('open', 'settled')),
    attempt int not null default 0,
    refusals int not null default 0,
    fence int not null default 0,
    lease_until timestamptz,
    next_at timestamptz not null default now(),
    first_call_at timestamptz,
    may_have_arrived boolean not null default false,
    render jsonb,
    results jsonb not null default '{}',
    created_at timestamptz not null default now(),
    settled_at timestamptz
);
create index claims_due on claims (next_at) where state = 'open';
create index claims_age on claims (settled_at) where state = 'settled';

-- Addresses that a provider reported as dead or unwilling; checked by every claim.
create table suppressions (
    address_key text primary key,
    reason text not null check (reason in ('bounced', 'complained', 'suppressed')),
    at timestamptz not null,
    delivery_id uuid not null
);

-- Where click tokens lead, by content: the id is the start of the URL's hash.
create table links (id text primary key, url text not null);
