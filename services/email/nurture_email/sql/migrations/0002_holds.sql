-- migrate:up
-- Of which sequence a page's deliveries are; empty for test mails and for pages from before.
alter table pages add column sequence_type text not null default '';

-- While a type is held, its pages must not be read over and over by claims of the others.
create index pages_of_type on pages (sequence_type, received_at, id) where claim_id is null and not test;
create index pages_of_tests on pages (received_at, id) where claim_id is null and test;
