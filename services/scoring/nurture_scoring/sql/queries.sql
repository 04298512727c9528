-- The scoring room's questions. Reads go through `lateral … limit 1` or `offset 0`: a plan that was made while a table
-- was small must not become one that reads the whole table for every page.

-- name: hold_owners
-- Whose messages these are. Everybody's row is made or locked, in order, before anything about them is read, so that
-- folds about one person follow each other; `where false` locks without writing.
with meant as materialized (
    select w.id, coalesce(c.user_id, d.user_id) as user_id, coalesce(c.channel, d.channel) as channel
    from unnest($1::uuid[]) as w(id)
    left join lateral (select m.user_id, m.channel from message_credits m where m.delivery_id = w.id limit 1) c on true
    left join lateral (
        select m.user_id, m.channel from {publish}.deliveries m where m.id = w.id and c.user_id is null limit 1
    ) d on true
), held as (
    insert into states (user_id) select distinct user_id from meant where user_id is not null order by user_id
    on conflict (user_id) do update set goals = states.goals where false
)
select id, user_id, channel from meant where user_id is not null

-- name: hold_people
-- The same for people who are named themselves; nobody of them may be unknown.
insert into states (user_id) select distinct id from unnest($1::uuid[]) as w(id) order by id
on conflict (user_id) do update set goals = states.goals where false

-- name: read_messages
-- What is known of these messages and their people, under the lock.
select w.delivery_id, s.goals, s.updated_at, c.delivered_at, c.goal_at, c.credit, c.signals
from unnest($1::uuid[], $2::uuid[]) as w(delivery_id, user_id)
join lateral (select p.goals, p.updated_at from states p where p.user_id = w.user_id limit 1) s on true
left join lateral (
    select m.delivered_at, m.goal_at, m.credit, m.signals::text from message_credits m where m.delivery_id = w.delivery_id
    limit 1
) c on true

-- name: read_line
-- These people's messages from some time on: a goal may have to move from one to another.
select m.* from unnest($1::uuid[], $2::timestamptz[]) as w(user_id, since)
cross join lateral (
    select c.delivery_id, c.user_id, c.channel, c.delivered_at, c.goal_at, c.credit, c.signals::text
    from message_credits c where c.user_id = w.user_id and c.delivered_at >= w.since offset 0
) m

-- name: read_goals
-- Their goals from that time on; $3 are the events that are none.
select w.user_id, e.at from unnest($1::uuid[], $2::timestamptz[]) as w(user_id, since)
cross join lateral (
    select x.at from external_events x where x.user_id = w.user_id and x.at >= w.since and x.event <> all($3::text[]) offset 0
) e

-- name: save_messages
-- One row a message, new or changed. `signals` come as text: as jsonb, a list of lists would be taken for a table.
insert into message_credits as m (delivery_id, user_id, channel, delivered_at, goal_at, credit, signals)
select w.delivery_id, w.user_id, w.channel, w.delivered_at, w.goal_at, w.credit, w.signals::jsonb
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::float8[], $7::text[])
    as w(delivery_id, user_id, channel, delivered_at, goal_at, credit, signals)
on conflict (delivery_id) do update set delivered_at = excluded.delivered_at, goal_at = excluded.goal_at,
    credit = excluded.credit, signals = excluded.signals

-- name: add_sums
-- Additions of one kind, to people and to everybody. Upserts of rows that all exist: unlike an update they can have no
-- other plan than by key. A CTE that nobody reads runs last, so the row that every page writes is held the shortest.
with added as materialized (
    select * from unnest($2::uuid[], $3::float8[], $4::float8[], $5::int[], $6::timestamptz[]) as w(user_id, r, n, goals, at)
), everybody as (
    insert into means as m (kind, r, n) select $1::text, sum(r), sum(n) from added having bool_or(r <> 0 or n <> 0)
    on conflict (kind) do update set r = m.r + excluded.r, n = m.n + excluded.n
)
insert into states as s (user_id, email_r, email_n, telegram_r, telegram_n, attendance_r, attendance_n, commitment_r,
    commitment_n, goals, updated_at)
select w.user_id, case when $1 = 'email' then w.r else 0 end, case when $1 = 'email' then w.n else 0 end,
    case when $1 = 'telegram' then w.r else 0 end, case when $1 = 'telegram' then w.n else 0 end,
    case when $1 = 'attendance' then w.r else 0 end, case when $1 = 'attendance' then w.n else 0 end,
    case when $1 = 'commitment' then w.r else 0 end, case when $1 = 'commitment' then w.n else 0 end, w.goals, w.at
from added w
on conflict (user_id) do update set
    email_r = s.email_r + excluded.email_r, email_n = s.email_n + excluded.email_n,
    telegram_r = s.telegram_r + excluded.telegram_r, telegram_n = s.telegram_n + excluded.telegram_n,
    attendance_r = s.attendance_r + excluded.attendance_r, attendance_n = s.attendance_n + excluded.attendance_n,
    commitment_r = s.commitment_r + excluded.commitment_r, commitment_n = s.commitment_n + excluded.commitment_n,
    goals = s.goals + excluded.goals, updated_at = greatest(s.updated_at, excluded.updated_at)

-- name: find_people
-- Who is meant, by id or external id; nobody for what is unknown here. Subselects, each by its own index.
select coalesce((select u.id from {publish}.people u where u.id = w.id),
    (select u.id from {publish}.people u where u.external_id = w.external_id)) as user_id
from unnest($1::uuid[], $2::text[]) with ordinality as w(id, external_id, place) order by w.place

-- name: keep_events
-- Insert-only: a known id changes nothing, and only new ones are returned.
insert into external_events (event_id, user_id, event, at)
select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
on conflict do nothing returning event_id

-- name: keep_letters
-- Items that cannot be obeyed, each as a page of its own. One that fails again after a replay is open again.
insert into dead_letters as d (id, durable, subject, payload, headers, reason)
select w.id, $1, $2, w.payload, $3, w.reason from unnest($4::uuid[], $5::bytea[], $6::text[]) as w(id, payload, reason)
on conflict (id) do update set replayed_at = null, at = now(), reason = excluded.reason where d.replayed_at is not null

-- name: keep_day
-- The scores of everybody of whom something is known, as of $1, in one reading. Whoever looks later on a day has the last word.
insert into score_days as d (day, kind, at, people, mean, p10, median, p90, buckets)
select ($1::timestamptz at time zone 'UTC')::date, kind, $1, count(*), avg(score),
    percentile_cont(0.1) within group (order by score), percentile_cont(0.5) within group (order by score),
    percentile_cont(0.9) within group (order by score), array[
        count(*) filter (where tenth = 0), count(*) filter (where tenth = 1), count(*) filter (where tenth = 2),
        count(*) filter (where tenth = 3), count(*) filter (where tenth = 4), count(*) filter (where tenth = 5),
        count(*) filter (where tenth = 6), count(*) filter (where tenth = 7), count(*) filter (where tenth = 8),
        count(*) filter (where tenth = 9)]
from (
    select kind, score, least(floor(score / 10), 9) as tenth from (
        select g.kind, case when g.blocked then 0
            else {publish}.engagement_score_at(g.r, g.n, m.r, m.n, $1)::float8 end as score
        from {publish}.engagement_states g join {publish}.engagement_means m on m.kind = g.kind where g.n > 0 or g.r > 0
    ) scored
) s
group by kind
on conflict (day, kind) do update set at = excluded.at, people = excluded.people, mean = excluded.mean, p10 = excluded.p10,
    median = excluded.median, p90 = excluded.p90, buckets = excluded.buckets
where excluded.at >= d.at
