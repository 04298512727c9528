-- migrate:up
-- Which processes of this room there are, and how each says it is. A process that stops cleanly takes its row away; one
-- that died leaves it, with the time when it was seen last.
create table presence (
    instance text primary key,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    problems jsonb not null default '[]',
    held jsonb not null default '[]'
);
