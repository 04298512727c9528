-- migrate:up
-- A mail that belongs to no delivery: a test, or one that asks whether the mailbox is somebody's.
alter table test_messages add column purpose text not null default 'test' check (purpose in ('test', 'verification'));
