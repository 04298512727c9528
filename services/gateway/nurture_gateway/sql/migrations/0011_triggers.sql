-- migrate:up
-- Where a command came from, how many people it names, and the trace that all of its messages share.
alter table commands
    add column source text not null default 'rest' check (source in ('rest', 'cli', 'client', 'dashboard', 'canary')),
    add column people int,
    add column trace_id text;

-- The canary's are forgotten after 35 days.
create index commands_of_canary on commands (created_at) where source = 'canary';
