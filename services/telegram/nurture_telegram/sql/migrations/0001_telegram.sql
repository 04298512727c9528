-- migrate:up
-- The inbox of send commands: a page id is taken once.
create table pages (id uuid primary key, members uuid[] not null, received_at timestamptz not null default now());
