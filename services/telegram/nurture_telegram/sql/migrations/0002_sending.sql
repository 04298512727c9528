-- migrate:up
create index pages_age on pages (received_at);

-- One delivery and all its attempts. `attempt` is the fence: only who claimed it last may write its end.
create table claims (
    delivery_id uuid primary key,
    state text not null default 'waiting' check (state in ('waiting', 'sending', 'settled')),
    attempt int not null default 0,
    lease_until timestamptz,
    next_at timestamptz not null default clock_timestamp(),
    plain boolean not null default false,
    moved boolean not null default false,
    user_id uuid,
    chat_id text,
    claimed_at timestamptz,
    outcome text,
    reason text,
    provider_id text,
    settled_at timestamptz,
    check ((state = 'settled') = (outcome is not null)),
    check ((state = 'sending') = (lease_until is not null))
);
create index claims_due on claims (next_at, delivery_id) where state = 'waiting';
create index claims_leased on claims (lease_until) where state = 'sending';
create index claims_of_chat on claims (chat_id, claimed_at desc) where chat_id is not null;
create index claims_provider on claims (provider_id) where provider_id is not null;
create index claims_age on claims (settled_at) where state = 'settled';

-- Telegram takes about one message a second for a chat; all replicas keep that by these rows.
create table chat_pace (chat_id text primary key, next_at timestamptz not null);
create index chat_pace_age on chat_pace (next_at);

-- Whose chat it is, and whether it takes messages. `replaced`: the person has another chat now, or the chat another id.
create table chats (
    chat_id text primary key,
    user_id uuid not null,
    state text not null default 'ok' check (state in ('ok', 'blocked', 'gone', 'replaced')),
    moved_to text,
    linked_at timestamptz
);
create index chats_of_user on chats (user_id);

-- Chats whose person said /stop; checked by every claim.
create table refusals (chat_id text primary key, at timestamptz not null default now());

-- A linking token works once; only its hash is kept.
create table used_tokens (hash bytea primary key, chat_id text not null, used_at timestamptz not null default now());

-- An update may come by polling, by webhook and from another bot that passes it on; it counts once.
create table seen_updates (
    bot_id bigint not null,
    update_id bigint not null,
    at timestamptz not null default now(),
    primary key (bot_id, update_id)
);
create index seen_updates_age on seen_updates (at);

-- Where polling goes on.
create table poll_offsets (bot_id bigint primary key, next_id bigint not null, moved_at timestamptz not null default now());

-- Where click tokens lead, by content: the id is the start of the URL's hash.
create table links (id text primary key, url text not null);

-- What is known about the bot: one row.
create table channel (
    one boolean primary key default true check (one),
    ready boolean not null default false,
    bot_username text,
    updates text not null,
    bot_problem text,
    updates_problem text,
    checked_at timestamptz not null default now()
);
