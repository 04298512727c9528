-- The scoring room's questions.

-- name: heard_add
-- One statement a page.
insert into heard as h (kind, day, items) select u.* from unnest($1::text[], $2::date[], $3::bigint[]) as u
on conflict (kind, day) do update set items = h.items + excluded.items
