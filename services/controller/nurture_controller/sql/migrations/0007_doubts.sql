-- migrate:up
-- More than one attempt may have arrived: the step says `on_ambiguous = "retry"`.
alter table deliveries add column possible_duplicate boolean not null default false;
