-- What other rooms and operators may read of engagement. Applied again after every migration. The functions compute what
-- formula.py does; they have bodies that the planner can put in place of the call.
create or replace function {publish}.engagement_weight_at(at timestamptz) returns float8
language sql immutable parallel safe as $$
    select power(2::float8, greatest(-1000, least(1000,
        extract(epoch from at - timestamptz '2026-01-01 00:00:00+00')::float8 / 2592000)))
$$;

create or replace function {publish}.engagement_mean_at(mean_r float8, mean_n float8, at timestamptz) returns float8
language sql immutable parallel safe as $$
    select case when mean_n >= 10 * {publish}.engagement_weight_at(at) then greatest(0, least(1, mean_r / mean_n)) else 0.2 end
$$;

create or replace function {publish}.engagement_score_at(r float8, n float8, mean_r float8, mean_n float8, at timestamptz)
returns numeric(5,2) language sql immutable parallel safe as $$
    select round((100
        * (greatest(0, least(coalesce(r, 0), coalesce(n, 0)))
            + 4 * {publish}.engagement_weight_at(at) * {publish}.engagement_mean_at(mean_r, mean_n, at))
        / (greatest(0, coalesce(n, 0)) + 4 * {publish}.engagement_weight_at(at)))::numeric, 2)
$$;
grant execute on function {publish}.engagement_weight_at(timestamptz) to nurture_gateway, nurture_controller, nurture_scoring;
grant execute on function {publish}.engagement_mean_at(float8, float8, timestamptz)
    to nurture_gateway, nurture_controller, nurture_scoring;
grant execute on function {publish}.engagement_score_at(float8, float8, float8, float8, timestamptz)
    to nurture_gateway, nurture_controller, nurture_scoring;

-- R and N by person and kind. `blocked` is what the gateway knows of the address and the person's word; a blocked channel
-- answers nothing any more. One is open as long as sequences or announcements are wanted there. `overall` is blocked when
-- somebody said no and no channel is left. Contacts are looked up one by one: a join would read all of them for a page of a
-- thousand people.
create or replace view {publish}.engagement_states as
select s.user_id, k.kind, least(k.r, k.n) as r, k.n, coalesce(k.blocked, false) as blocked
from scoring.states s
left join lateral (
    select c.address, c.state, case when 'granted' in (c.consent, c.announcement_consent) then 'granted' else 'refused' end as consent
    from {publish}.contacts c where c.user_id = s.user_id and c.channel = 'email' limit 1
) e on true
left join lateral (
    select c.address, c.state, case when 'granted' in (c.consent, c.announcement_consent) then 'granted' else 'refused' end as consent
    from {publish}.contacts c where c.user_id = s.user_id and c.channel = 'telegram' limit 1
) t on true
cross join lateral (select
    coalesce(e.consent = 'refused' or (e.address is not null and e.state <> 'ok'), false) as email,
    coalesce(t.consent = 'refused' or (t.address is not null and t.state <> 'ok'), false) as telegram,
    coalesce(e.address is not null and e.state = 'ok' and e.consent = 'granted', false)
        or coalesce(t.address is not null and t.state = 'ok' and t.consent = 'granted', false) as reachable
) b
cross join lateral (values
    ('overall', case when b.email then 0 else s.email_r end + case when b.telegram then 0 else s.telegram_r end,
        s.email_n + s.telegram_n, (b.email or b.telegram) and not b.reachable),
    ('email', s.email_r, s.email_n, b.email),
    ('telegram', s.telegram_r, s.telegram_n, b.telegram),
    ('attendance', s.attendance_r, s.attendance_n, false),
    ('commitment', s.commitment_r, s.commitment_n, false)
) as k(kind, r, n, blocked)
where s.updated_at is not null;

-- The same over everybody; always five rows.
create or replace view {publish}.engagement_means as
select k.kind, coalesce(sum(m.r), 0)::float8 as r, coalesce(sum(m.n), 0)::float8 as n
from (values ('overall', 'email'), ('overall', 'telegram'), ('email', 'email'), ('telegram', 'telegram'),
    ('attendance', 'attendance'), ('commitment', 'commitment')) as k(kind, part)
left join scoring.means m on m.kind = k.part
group by k.kind;

-- Scores as of the last thing that is known of each person, with what they are made from: R and N as of then, the mean
-- rate, how many messages or events, the last five answers. For our own services, with ids as uuid.
create or replace view {publish}.engagement_details as
select md5(s.user_id::text || ':' || s.kind)::uuid as id, s.user_id, s.kind as score_type,
    (case when s.blocked then 0
        else {publish}.engagement_score_at(s.r, s.n, m.r, m.n, p.updated_at) end)::numeric(5,2) as score,
    jsonb_build_object(
        'r', round((s.r / {publish}.engagement_weight_at(p.updated_at))::numeric, 4),
        'n', round((s.n / {publish}.engagement_weight_at(p.updated_at))::numeric, 4),
        'mean', round({publish}.engagement_mean_at(m.r, m.n, p.updated_at)::numeric, 4),
        'blocked', s.blocked
    ) || case when s.kind in ('attendance', 'commitment') then jsonb_build_object(
        'events', (select count(*) from scoring.external_events x
            where x.user_id = s.user_id and x.event = any(k.events)),
        'last', (select coalesce(jsonb_agg(jsonb_build_object('kind', l.event, 'at', l.at,
                'credit', (l.event in ('attended', 'commitment_kept'))::int) order by l.at desc), '[]')
            from (select x.event, x.at from scoring.external_events x
                where x.user_id = s.user_id and x.event = any(k.events) order by x.at desc limit 5) l)
    ) else jsonb_build_object(
        'messages', (select count(*) from scoring.message_credits c
            where c.user_id = s.user_id and c.delivered_at is not null and (s.kind = 'overall' or c.channel = s.kind)),
        'last', (select coalesce(jsonb_agg(jsonb_build_object('kind', l.kind, 'at', l.at, 'credit', l.credit)
                order by l.at desc), '[]')
            from (
                select g.kind, g.at, g.credit from scoring.message_credits c cross join lateral (
                    select y.kind, to_timestamp(y.at) as at, y.credit
                    from jsonb_to_recordset(c.signals) as y(kind text, at float8, credit float8)
                    union all select 'goal', c.goal_at, 1 where c.goal_at is not null
                ) g
                where c.user_id = s.user_id and (s.kind = 'overall' or c.channel = s.kind)
                order by g.at desc limit 5
            ) l)
    ) end || case when s.kind = 'overall' then jsonb_build_object('parts', (
        select jsonb_object_agg(c.kind, jsonb_build_object(
            'score', case when c.blocked then 0
                else {publish}.engagement_score_at(c.r, c.n, cm.r, cm.n, p.updated_at) end,
            'n', round((c.n / {publish}.engagement_weight_at(p.updated_at))::numeric, 4)))
        from {publish}.engagement_states c join {publish}.engagement_means cm on cm.kind = c.kind
        where c.user_id = s.user_id and c.kind in ('email', 'telegram')
    )) else '{}' end as factors,
    p.updated_at as calculated_at, p.updated_at + interval '1 day' as valid_until
from {publish}.engagement_states s
join {publish}.engagement_means m on m.kind = s.kind
join scoring.states p on p.user_id = s.user_id
cross join lateral (select case s.kind when 'attendance' then array['attended', 'missed']
    else array['commitment_made', 'commitment_kept'] end as events) k;

-- The same for everybody's SQL: the id of a person is text.
create or replace view {publish}.engagement_scores as
select d.id, d.user_id::text as user_id, d.score_type, d.score, d.factors, d.calculated_at, d.valid_until
from {publish}.engagement_details d;

-- One score by the clock of now, decay included: what GET /admin/api/users/{id}/scores answers. Null for nobody, and for a
-- type that there is not.
create or replace function {publish}.calculate_engagement_score(user_id text, score_type text) returns numeric
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select case when s.blocked then 0 else {publish}.engagement_score_at(s.r, s.n, m.r, m.n, {publish}.business_now()) end
    from (select {publish}.person_id($1) as id) p
    join {publish}.engagement_means m on m.kind = $2
    left join {publish}.engagement_states s on s.user_id = p.id and s.kind = m.kind
    where p.id is not null
$$;

-- What people did elsewhere.
create or replace view {publish}.engagement_events as
select event_id, user_id, event, at from scoring.external_events;

grant select on {publish}.engagement_states, {publish}.engagement_means, {publish}.engagement_details
    to nurture_gateway, nurture_controller;
grant select on {publish}.engagement_states, {publish}.engagement_means to nurture_scoring;
grant select on {publish}.engagement_events to nurture_gateway;

-- Scores over time: how those of a kind were spread on a day (UTC), as of the last look of that day.
create or replace view {publish}.score_days as
select day, kind as score_type, people, round(mean::numeric, 2) as mean, round(p10::numeric, 2) as p10,
    round(median::numeric, 2) as median, round(p90::numeric, 2) as p90, buckets, at
from scoring.score_days;
grant select on {publish}.score_days to nurture_gateway;

-- Messages that somebody certainly answered: a click that nothing but a person can have made, a button, a reply, a goal. What
-- only opened, or may be a machine's, is worth less (credits.py; a test holds the two together).
create or replace view {publish}.answered_messages as select delivery_id from scoring.message_credits where credit >= 0.6;
grant select on {publish}.answered_messages to nurture_gateway;
