-- The telegram room's questions.

-- name: page_take
-- 0 rows: this page was taken before.
insert into pages (id, members) values ($1, $2) on conflict do nothing
