-- migrate:up
drop table heard;

-- One row a person: the sums of formula.py against its fixed landmark, and the lock under which they are folded.
-- `goals` says whether a later message may take over what an earlier one was credited with.
create table states (
    user_id uuid primary key,
    email_r float8 not null default 0,
    email_n float8 not null default 0,
    telegram_r float8 not null default 0,
    telegram_n float8 not null default 0,
    attendance_r float8 not null default 0,
    attendance_n float8 not null default 0,
    commitment_r float8 not null default 0,
    commitment_n float8 not null default 0,
    goals int not null default 0,
    updated_at timestamptz
) with (fillfactor = 70);

-- The same sums over everybody.
create table means (
    kind text primary key check (kind in ('email', 'telegram', 'attendance', 'commitment')),
    r float8 not null default 0,
    n float8 not null default 0
) with (fillfactor = 10);

-- One row a message that was delivered or answered, whichever was heard of first; `signals` are all that its credit
-- is made from: [{kind, at, signal, credit, link}].
create table message_credits (
    delivery_id uuid primary key,
    user_id uuid not null,
    channel text not null check (channel in ('email', 'telegram')),
    delivered_at timestamptz,
    goal_at timestamptz,
    credit float8 not null default 0,
    signals jsonb not null default '[]'
) with (fillfactor = 70);
create index message_credits_of_person on message_credits (user_id);

-- Inbox and log of what people did elsewhere; an id is taken once.
create table external_events (
    event_id uuid primary key,
    user_id uuid not null,
    event text not null,
    at timestamptz not null
);
create index external_events_of_person on external_events (user_id, at);
