-- migrate:up
-- Whose chat it was when they said /stop (null: a stranger's). A later word of that person takes it back, anybody else's does
-- not. `at` is business time, as every word about consent is.
alter table refusals add column user_id uuid;
