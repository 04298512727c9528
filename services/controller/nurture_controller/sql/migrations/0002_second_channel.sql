-- migrate:up
-- A held enrolment is not due: the index that the tick asks leaves it out.
alter table enrolments add column paused boolean not null default false;
drop index enrolments_due;
create index enrolments_due on enrolments (next_at) where state = 'active' and not paused;
create index enrolments_of_type on enrolments (sequence_type) where state = 'active';
create table paused_types (type text primary key, at timestamptz not null);

alter table deliveries add column variant text, add column tier text, add column fallback_of uuid;

-- Why a definitive failure was, or was not, followed by the other channel: once a delivery.
create table fallbacks (
    delivery_id uuid primary key,
    fallback_id uuid,
    at timestamptz not null,
    decision jsonb not null
);
