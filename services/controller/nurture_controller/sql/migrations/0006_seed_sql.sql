-- migrate:up
-- How business time runs here, as the controller was told when it started: SQL functions answer by the same clock.
create table clock (
    one boolean primary key default true check (one),
    speed float8 not null,
    real_epoch float8 not null,
    business_epoch float8 not null
);

-- Single messages that were asked for in SQL. `next_at` is when the planner has to look at one: null once it is planned or
-- was cancelled. `scheduled_at` is null where the person's own next preferred time is meant. The id becomes the delivery's.
create table message_requests (
    id uuid primary key,
    user_id uuid not null,
    sequence_type text not null,
    step smallint not null,
    channels text[] not null,
    scheduled_at timestamptz,
    content text not null,
    metadata jsonb not null,
    requested_at timestamptz not null,
    requested_by text not null,
    next_at timestamptz,
    cancelled_at timestamptz
);
create index message_requests_due on message_requests (next_at) where next_at is not null;

-- The latest deliveries, and those of the last day. 2 µs a delivery; a person's deliveries by text would be 7 more, so whoever
-- asks for them often asks the view `deliveries`, by uuid.
create index deliveries_newest on deliveries (created_at);
