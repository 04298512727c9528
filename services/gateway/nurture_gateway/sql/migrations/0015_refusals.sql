-- migrate:up
-- Starts that were refused, by the person who was named and by those whom a list's answer names.
create index commands_refused on commands ((request ->> 'user_id'), id) where kind = 'trigger' and status >= 400;
create index commands_refusing on commands using gin ((result -> 'refused') jsonb_path_ops)
    where kind = 'trigger' and result ? 'refused';
