-- migrate:up
-- Failed messages that an operator has taken out of the queue. The deliveries themselves stay as they are.
create table archived_deliveries (
    delivery_id uuid primary key,
    command_id uuid not null,
    at timestamptz not null
);

-- What did not go out, or may not have. By facts and not by the status, which later facts change: their updates stay HOT.
create index deliveries_in_trouble on deliveries (id)
    where failed_at is not null or expired_at is not null or unknown_at is not null;
