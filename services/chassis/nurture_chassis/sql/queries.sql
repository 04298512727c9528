-- Statements that every room's schema answers to: its outbox, its dead letters, its pace, its leases.

-- name: outbox_add
-- Messages of one transaction, all in one statement.
insert into outbox (id, subject, payload, headers)
select * from unnest($1::uuid[], $2::text[], $3::bytea[], $4::jsonb[])

-- name: outbox_published
-- Marks come in batches and late: until then the relay may publish again under the same id, which is harmless. A mark
-- from before a loss was answered ($2 is what its publisher knew of) counts for nothing; the lock keeps a refill away.
with known as (select from refilled where n = $2 for share)
update outbox set published_at = now() from known where published_at is null and id = any($1::uuid[])

-- name: outbox_sweep
-- What a writer could not publish itself; young rows are left to their writer, subjects that fail just now to later. The lock on
-- `refilled` comes before those on rows, as a refill takes them: each would else wait for what the other has.
with known as materialized (select from refilled for share)
select o.id, o.subject, o.payload, o.headers, o.redrive from known, outbox o
where o.published_at is null and o.created_at < now() - make_interval(secs => $1) and o.subject <> all($3::text[])
order by o.created_at limit $2 for update of o skip locked

-- name: outbox_losses
-- Has the bus lost anything since we last answered a loss? One row at least: what we answered last.
select r.n as answered, l.n, l.subject, l.since
from refilled r left join {publish}.bus_losses l on l.n > r.n order by l.n

-- name: outbox_answer
-- One of the replicas answers a loss; marks that are under way are waited for, so that the refill sees them.
update refilled set n = $2, at = now() where n = $1 returning n

-- name: outbox_patience
-- A refill reads days of rows once; no other statement may take so long.
select set_config('statement_timeout', '600s', true)

-- name: outbox_refill
-- Marks are written after their publish by the same clock that `since` was read from, so none is missed. A row without a mark
-- may have been published too; the bus, which may know its id, would drop it.
update outbox o set published_at = null, redrive = l.n
from unnest($1::text[], $2::bigint[], $3::timestamptz[]) as l (subject, n, since)
where o.subject = l.subject and (o.published_at is null or o.published_at >= coalesce(l.since, '-infinity'))

-- name: waiting_here
-- For the gauges. Each part reads an index, and no more of it than it can tell.
select clock_timestamp() as now,
    (select count(*) from (select from outbox where published_at is null limit 10000) o) as waiting,
    (select created_at from outbox where published_at is null order by created_at limit 1) as oldest,
    (select count(*) from (select from dead_letters where replayed_at is null limit 10000) d) as dead_letters

-- name: outbox_rotate
-- Makes tomorrow's partition and drops those older than the retention (security definer: services own no tables).
select rotate_outbox()

-- name: dead_letter_keep
-- The same letter comes back with every redelivery; one row is enough.
insert into dead_letters (id, durable, subject, payload, headers, reason)
values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing

-- name: dead_letters_say
-- What this room could not say goes through its outbox again.
update dead_letters set replayed_at = now() where replayed_at is null and durable = 'outbox' and id = any($1::uuid[])
returning id, subject, payload, headers

-- name: dead_letters_open
-- What this room could not take, oldest first.
select id, durable, subject, payload, headers from dead_letters
where replayed_at is null and durable <> 'outbox' and id = any($1::uuid[]) order by at, id

-- name: dead_letter_done
update dead_letters set replayed_at = now() where id = $1 and replayed_at is null

-- name: dead_letter_stays
update dead_letters set reason = $2 where id = $1 and replayed_at is null

-- name: pace_reserve
-- $3 slots in a row for all replicas: no burst, database clock, $4 intervals apart, the first not before $5 seconds from now.
-- Returns the seconds until the first, and from each to the next.
insert into pace as p (account, next_at, interval_seconds)
values ($1, clock_timestamp() + make_interval(secs => $5::float8 + $2::float8 * $4::float8 * $3::int), $2::float8)
on conflict (account) do update
set next_at = greatest(p.next_at, clock_timestamp() + make_interval(secs => $5), coalesce(p.parked_until, clock_timestamp()))
    + make_interval(secs => p.interval_seconds * $4 * $3)
returning greatest(0, extract(epoch from next_at - make_interval(secs => interval_seconds * $4 * $3) - clock_timestamp()))::float8
    as wait, interval_seconds * $4 as step

-- name: pace_reserve_within
-- The next slot, if it comes within $4 seconds; a later one is left to others, as whoever asks would not wait for it.
insert into pace as p (account, next_at, interval_seconds)
values ($1, clock_timestamp() + make_interval(secs => $2::float8 * $3::float8), $2::float8)
on conflict (account) do update
set next_at = greatest(p.next_at, clock_timestamp(), coalesce(p.parked_until, clock_timestamp()))
    + make_interval(secs => p.interval_seconds * $3)
where greatest(p.next_at, coalesce(p.parked_until, p.next_at)) <= clock_timestamp() + make_interval(secs => $4::float8)
returning greatest(0, extract(epoch from next_at - make_interval(secs => interval_seconds * $3) - clock_timestamp()))::float8
    as wait, interval_seconds * $3 as step

-- name: pace_follow
-- The provider states its own limit; only a change writes.
update pace set interval_seconds = $2 where account = $1 and abs(interval_seconds - $2) > 1e-6

-- name: pace_hold
-- A `retry-after` moves everybody's next slot.
update pace set next_at = greatest(next_at, clock_timestamp() + make_interval(secs => $2)) where account = $1

-- name: pace_park
-- The account itself is refused: nobody calls until then, and the reason is shown.
insert into pace (account, next_at, interval_seconds, parked_until, park_reason)
values ($1, clock_timestamp(), $4, clock_timestamp() + make_interval(secs => $2), $3)
on conflict (account) do update set parked_until = excluded.parked_until, park_reason = excluded.park_reason

-- name: pace_unpark
-- A call went through again: slots that were put behind the park come back.
update pace set parked_until = null, park_reason = null, next_at = least(next_at, clock_timestamp()) where account = $1 and park_reason is not null

-- name: pace_state
-- For the health page.
select next_at, interval_seconds, parked_until, park_reason from pace where account = $1

-- name: lease_take
-- One holder at a time, by the database's clock; the holder renews by the same statement.
insert into leases as l (name, holder, until) values ($1, $2, clock_timestamp() + make_interval(secs => $3))
on conflict (name) do update set holder = excluded.holder, until = excluded.until
where l.holder = excluded.holder or l.until < clock_timestamp()
returning holder

-- name: lease_release
-- A clean stop hands over at once.
delete from leases where name = $1 and holder = $2

-- name: outbox_knows
-- Whether what this process committed is there: not in a database that was restored behind it.
select exists(select from outbox where id = $1)

-- name: said
-- Whether a message on the bus has its row, in whichever room: some commands are said by two.
select exists(select from {publish}.said_messages where id = $1)

-- name: installation_since
-- Messages that are older than this say nothing: their rows may be gone, or the database was confirmed without them.
select greatest(confirmed_at, now() - interval '7 days') as since from {publish}.installation

-- name: installation_confirmed
-- When the operator last vouched for this database.
select confirmed_at from {publish}.installation

-- name: presence_note
-- We are here, and this is how we are.
insert into presence (instance, problems, held) values ($1, $2, $3)
on conflict (instance) do update set seen_at = now(), problems = excluded.problems, held = excluded.held

-- name: presence_leave
-- A clean end leaves nothing behind.
delete from presence where instance = $1

-- name: presence_forget
-- Processes that died are told of for a day.
delete from presence where seen_at < now() - interval '1 day'
