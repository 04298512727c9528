-- migrate:up
-- How many letters are open is asked every few seconds; those that were replayed stay for good.
create index dead_letters_open on dead_letters (at) where replayed_at is null;
