-- migrate:up
-- Which messages people unsubscribed by: rare, so it costs next to nothing, and without it the whole log would be read.
create index delivery_events_unsubscribed on delivery_events (delivery_id) where kind = 'unsubscribed';
