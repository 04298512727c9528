-- migrate:up
-- Of which sequence a delivery is; empty for those from before.
alter table claims add column sequence_type text not null default '';

-- While a type is held, its deliveries must not be read over and over by claims of the others.
create index claims_of_type on claims (sequence_type, next_at, delivery_id) where state = 'waiting';
