-- The controller's questions, each with its reason. Set-based: a page of people is one statement.

-- name: sequence_latest
-- Which version a new enrolment gets.
select id, type, version, definition from sequences where type = $1 order by version desc limit 1

-- name: sequence_by_ids
-- Versions that due enrolments are pinned to; cached for good, since they never change.
select id, type, version, definition from sequences where id = any($1::uuid[])

-- name: sequence_types
-- For refusals that name what would be valid.
select distinct type from sequences order by type

-- name: sequence_publish_lock
-- One publish of a type at a time, until the transaction ends.
select pg_advisory_xact_lock(hashtext('sequence:' || $1))

-- name: sequence_publish
-- The next version of its type.
insert into sequences (id, type, version, definition, toml, published_at)
select $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5 from sequences where type = $2
returning version

-- name: sequence_publish_first
-- Shipped sequences fill a gap and never overrule an operator's version.
insert into sequences (id, type, version, definition, toml, published_at)
select $1, $2, 1, $3, $4, $5 where not exists (select from sequences where type = $2)
on conflict (type, version) do nothing

-- name: command_lock
-- One handler at a time for a command id: its repeats, and its start against its cancel. Held until the transaction ends.
select pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))

-- name: command_result
-- A redelivered command is answered from here.
select status, result from command_results where command_id = $1

-- name: command_settle
-- The answer is written in the transaction of the effect.
insert into command_results (command_id, status, result, at) values ($1, $2, $3, $4) on conflict do nothing

-- name: start_cancelled
-- Did a cancel overtake this start?
select true from cancelled_starts where command_id = $1

-- name: start_forestall
-- Remember a cancel whose start may still be on its way.
insert into cancelled_starts (command_id, at) values ($1, $2) on conflict do nothing

-- name: people
-- Persons and the canary, both contacts and scores as of $2, one row a person. A hint for planning: the claim decides again.
select u.id, u.first_name, u.timezone, u.locale, u.attributes, u.preferred_channel, u.preferred_time,
       e.address as email, e.state as email_state, e.consent as email_consent,
       e.announcement_consent as email_announcement_consent, e.unsubscribed as email_unsubscribed,
       t.address as telegram, t.state as telegram_state, t.consent as telegram_consent,
       t.announcement_consent as telegram_announcement_consent, t.unsubscribed as telegram_unsubscribed,
       s.email_score, s.telegram_score, s.overall_score
from (select id, first_name, timezone, locale, attributes, preferred_channel, preferred_time from {publish}.people
      union all select user_id, 'Canary', 'UTC', 'en', '{}', null, 'morning' from {publish}.canaries) u
left join (select * from {publish}.contacts where channel = 'email' and user_id = any($1::uuid[])) e on e.user_id = u.id
left join (select * from {publish}.contacts where channel = 'telegram' and user_id = any($1::uuid[])) t on t.user_id = u.id
left join (
    select x.user_id, max(x.score) filter (where x.kind = 'email') as email_score,
           max(x.score) filter (where x.kind = 'telegram') as telegram_score,
           max(x.score) filter (where x.kind = 'overall') as overall_score
    from (
        select g.user_id, g.kind,
               case when g.blocked then 0
                    else {publish}.engagement_score_at(g.r, g.n, coalesce(m.r, 0), coalesce(m.n, 0), $2) end::float8 as score
        from {publish}.engagement_states g left join {publish}.engagement_means m on m.kind = g.kind
        where g.user_id = any($1::uuid[]) and g.kind in ('overall', 'email', 'telegram')) x
    group by x.user_id) s on s.user_id = u.id
where u.id = any($1::uuid[])

-- name: telegram_channel
-- Whether the second channel can send, and the bot that people can be invited to.
select ready, bot_username from {publish}.telegram_channel

-- name: enrolments_running_of
-- Who of these is in this sequence already?
select user_id, id from enrolments where state = 'active' and sequence_type = $1 and user_id = any($2::uuid[])

-- name: enrolments_start
-- A race for the same person and type, or a repeated command, loses quietly; the winner's ids come back.
insert into enrolments (id, command_id, user_id, sequence_id, sequence_type, step, next_at, state, context, override_channel,
                        last_delivery_id, started_at, ended_at, ended_reason, paused, traceparent)
select u.id, $1, u.user_id, $2, $3, u.step, u.next_at, u.state, $4, $5, u.last_delivery_id, $6, u.ended_at, u.ended_reason, $15, $16
from unnest($7::uuid[], $8::uuid[], $9::smallint[], $10::timestamptz[], $11::text[], $12::uuid[], $13::timestamptz[], $14::text[])
     as u (id, user_id, step, next_at, state, last_delivery_id, ended_at, ended_reason)
on conflict do nothing
returning id

-- name: enrolments_claim_due
-- The page of people whose next step is due, oldest first; other controllers skip them. None while everything is held.
-- `held`: they were started while their type was being paused. `next_at` is when the step was due first.
select e.id, e.user_id, e.sequence_id, e.sequence_type, e.step, coalesce(e.due_at, e.next_at) as next_at, e.context,
       e.override_channel, e.started_at, e.traceparent, d.status as last_status,
       e.sequence_type in (select type from paused_types) as held
from enrolments e left join deliveries d on d.id = e.last_delivery_id
where e.id = any(array(
    select id from enrolments where state = 'active' and not paused and next_at <= $1
        and not (select {publish}.is_held('*'))
    order by next_at limit $2 for update skip locked))
order by e.id

-- name: enrolments_advance
-- Where each claimed enrolment stands now. One that is put off ($8: its step was due then) keeps that time.
update enrolments e
set step = u.step, next_at = u.next_at, state = u.state, last_delivery_id = coalesce(u.last_delivery_id, e.last_delivery_id),
    ended_at = u.ended_at, ended_reason = u.ended_reason, due_at = u.due_at
from unnest($1::uuid[], $2::smallint[], $3::timestamptz[], $4::text[], $5::uuid[], $6::timestamptz[], $7::text[],
            $8::timestamptz[])
     as u (id, step, next_at, state, last_delivery_id, ended_at, ended_reason, due_at)
where e.id = u.id

-- name: enrolments_next_due
-- How long the ticker may sleep; nothing is due while everything is held.
select next_at from enrolments
where state = 'active' and not paused and next_at is not null and not (select {publish}.is_held('*'))
order by next_at limit 1

-- name: start_held
-- A start while its type is held waits with the others. The lock makes a release wait for us, or us for the release: else
-- it could let go everybody but those whom we are about to hold.
with own as (select type from paused_types where type = $1 for share)
select exists(select from own) as type, {publish}.is_held('*') as everything

-- name: hold
-- Starts from now on are held as well. `*` is everything.
insert into paused_types (type, at) values ($1, $2) on conflict do nothing

-- name: release
-- Before the enrolments: a start that holds its people at this moment is waited for.
delete from paused_types where type = $1

-- name: enrolments_hold
-- Held where they are; what came due meanwhile is judged by its lateness when it is let go.
update enrolments set paused = $2 where state = 'active' and sequence_type = $1 and paused <> $2

-- name: enrolments_hold_late
-- Those who were started while their type was being paused. A release at this moment wins.
with still as (select type from paused_types where type = any($2::text[]) for share)
update enrolments set paused = true where id = any($1::uuid[]) and sequence_type in (select type from still)

-- name: enrolments_running
-- How many a pause of everything concerns.
select count(*) from enrolments where state = 'active'

-- name: holds_of
-- What holds a type, or with `*` all there is.
select sequence_type, reason, at, detail from {publish}.holds where $1 in ('*', sequence_type) or sequence_type = '*'
order by sequence_type, reason

-- name: installation_record
-- The first controller on a database says which one it is.
insert into installation (identity) values ({publish}.database_identity()) on conflict do nothing

-- name: installation_copied
-- The view tells so already; this keeps since when.
update installation set restored_at = h.at, evidence = h.detail
from {publish}.holds h where h.reason = 'restored' and restored_at is null
returning h.detail

-- name: installation_unsaid
-- Whether it was restored, as `nurture db restore` writes it down itself, and nothing was said again for that since.
select true from installation i
where restored_at is not null and not exists (select from bus_losses l where l.at >= i.restored_at and l.reason = $1)

-- name: installation_older
-- The first evidence stays.
update installation set restored_at = now(), evidence = $1 where restored_at is null returning evidence

-- name: installation_confirm
-- The operator vouches for this database as it is.
update installation set identity = {publish}.database_identity(), confirmed_at = clock_timestamp(), restored_at = null, evidence = null

-- name: enrolments_cancel
-- Ends what runs, and what has planned its last message but not sent it; deliveries already planned are dropped by the
-- channel's claim, which asks the enrolment.
update enrolments e set state = 'cancelled', next_at = null, ended_at = $1, ended_reason = 'cancelled'
where (e.id = $2 or e.command_id = $3 or (e.user_id = $4 and e.sequence_type = $5))
    and (e.state = 'active' or e.state = 'completed'
        and exists (select from deliveries d where d.enrolment_id = e.id and d.unsettled))
returning e.id

-- name: enrolments_cancel_waiting
-- The same for each of which a message waits or a step is due.
update enrolments e set state = 'cancelled', next_at = null, ended_at = $1, ended_reason = 'cancelled'
where e.id = any(array(
    select d.enrolment_id from deliveries d where d.unsettled
    union
    select a.id from enrolments a where a.state = 'active' and a.next_at <= $1
)) and e.state in ('active', 'completed')
returning e.id

-- name: enrolments_exit
-- Events of a page ($2 who, $3 what, $4 when) against what runs since before them and names them. Locked in the order of their
-- ids; who is being planned at this moment is waited for.
with did as (
    select r.* from unnest($2::uuid[], $3::text[], $4::timestamptz[]) as r(user_id, event, at)
    where r.event = any(array(
        select jsonb_array_elements_text(s.definition -> 'exit_on') from sequences s where s.definition ? 'exit_on'))
), over as (
    select distinct on (e.id) e.id, did.event
    from did
    join enrolments e on e.user_id = did.user_id and e.state = 'active' and e.started_at <= did.at
    join sequences s on s.id = e.sequence_id and s.definition -> 'exit_on' ? did.event
    order by e.id, did.at
), held as materialized (
    select e.id, over.event from over join enrolments e on e.id = over.id where e.state = 'active' order by e.id for update of e
)
update enrolments e set state = 'cancelled', next_at = null, ended_at = $1, ended_reason = 'exited: ' || held.event
from held where e.id = held.id and e.state = 'active'
returning e.id, e.ended_reason

-- name: requests_cancel_waiting
-- Messages that were asked for in SQL, are due and not planned yet.
update message_requests set next_at = null, cancelled_at = $1 where next_at <= $1 returning id

-- name: waiting_to_be_planned
-- For the gauges: how long the most overdue step and the oldest open delivery wait; each part is the head of an index.
select least(
        (select next_at from enrolments
         where state = 'active' and not paused and next_at is not null and not (select {publish}.is_held('*'))
         order by next_at limit 1),
        (select next_at from message_requests r
         where next_at is not null and not exists (select from paused_types p where p.type = r.sequence_type)
            and not (select {publish}.is_held('*'))
         order by next_at limit 1)) as due,
    (select scheduled_at from deliveries where unsettled order by scheduled_at limit 1) as unsettled,
    (select count(*) from start_jobs where not done) as jobs,
    (select count(*) from {publish}.holds where reason = 'paused') as paused,
    (select count(*) from {publish}.holds where reason = 'restored') as restored

-- name: requests_next_due
-- How long the ticker may sleep. What is of a type that is paused waits until that is over.
select next_at from message_requests r
where next_at is not null and not exists (select from paused_types p where p.type = r.sequence_type)
    and not (select {publish}.is_held('*'))
order by next_at limit 1

-- name: requests_claim_due
-- The page that the planner looks at now, oldest first, with the title of the sequence that each belongs to.
select r.id, r.user_id, r.sequence_type, r.step, r.channels, r.scheduled_at, r.content, r.metadata, r.requested_at, r.requested_by,
       (select s.definition ->> 'title' from sequences s where s.type = r.sequence_type order by s.version desc limit 1) as title
from message_requests r
where r.next_at <= $1 and not exists (select from paused_types p where p.type = r.sequence_type)
    and not (select {publish}.is_held('*'))
order by r.next_at limit $2 for update of r skip locked

-- name: requests_looked_at
-- When each is looked at again: never, once it is planned.
update message_requests r set next_at = u.next_at from unnest($1::uuid[], $2::timestamptz[]) as u (id, next_at) where r.id = u.id

-- name: requests_enrol
-- An enrolment of its own for each, over with its one step: so that two messages of a type never stand in each other's way.
insert into enrolments (id, command_id, user_id, sequence_id, sequence_type, step, state, context, last_delivery_id,
                        started_at, ended_at, ended_reason)
select u.id, u.id, u.user_id, u.id, u.sequence_type, u.step, u.state, u.context, u.id, $1, $1, u.ended_reason
from unnest($2::uuid[], $3::uuid[], $4::text[], $5::smallint[], $6::text[], $7::jsonb[], $8::text[])
     as u (id, user_id, sequence_type, step, state, context, ended_reason)

-- name: requests_by_ids
-- The words of single messages, for their fallback.
select r.id, r.sequence_type, r.step, r.channels, r.content, r.metadata,
       (select s.definition ->> 'title' from sequences s where s.type = r.sequence_type order by s.version desc limit 1) as title
from message_requests r where r.id = any($1::uuid[])

-- name: requests_cancel
-- Those of a person that are not planned yet.
update message_requests set next_at = null, cancelled_at = $1 where next_at is not null and user_id = $2 and sequence_type = $3
returning id

-- name: clock_tell
-- Functions in SQL count time as the services do.
insert into clock (speed, real_epoch, business_epoch) values ($1, $2, $3)
on conflict (one) do update set speed = excluded.speed, real_epoch = excluded.real_epoch, business_epoch = excluded.business_epoch

-- name: deliveries_plan
-- One row a delivery; the unique key makes a second plan of the same step impossible.
insert into deliveries (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at, failed_at, suppressed_at,
                        expired_at, failure_reason, variant, tier, fallback_of)
select u.* from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::smallint[], $6::text[], $7::timestamptz[],
                       $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[],
                       $13::text[], $14::text[], $15::uuid[]) as u

-- name: contents_plan
-- The frozen words and the decision that led to them.
insert into delivery_contents (delivery_id, address, template, subject, body, params, decision, expires_at, traceparent)
select u.* from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[], $8::timestamptz[],
                       $9::text[]) as u

-- name: deliveries_lock
-- One operator at a time for a delivery; in the order in which folds lock.
select id from deliveries where id = any($1::uuid[]) order by id for update

-- name: resend_page
-- Those of a channel's queue that may be sent once more, oldest first.
select q.id from ({use resend_facts}) q
where q.in_queue and q.channel = $1 and q.forbidden is null and q.doubt is null order by q.id limit $2

-- name: resend_obstacles
-- Why the rest of the queue is not sent once more.
select coalesce(q.forbidden, q.doubt) as reason, count(*) as deliveries from ({use resend_facts}) q
where q.in_queue and q.channel = $1 group by 1 order by 1

-- name: resend_of
-- These deliveries, and what is in the way of a new round of each.
select q.* from ({use resend_facts}) q where q.id = any($1::uuid[]) order by q.id

-- name: resend_facts
-- `forbidden` binds the person or the address and is never overruled; `doubt` may be, by an operator who says so. The words
-- are those that were frozen, the address is the one that the person has now.
select d.id, d.channel, d.sequence_type, d.step, d.status, newer.id as newer, a.address, a.state, a.consent,
       f.id is not null as in_queue, b.fallback_id,
       case when d.unsettled then 'still_pending'
            when newer.id is not null then 'already_resent'
            when e.state = 'cancelled' then 'enrolment_cancelled'
            when c.body = '' then 'no_words'
            when a.address is null then 'no_address'
            when {use consent} <> 'granted' then 'consent_refused'
            when a.state <> 'ok' or s.reason is not null then 'address_unusable' end as forbidden,
       case when d.status in ('unknown', 'sent', 'delivered', 'opened', 'clicked') then 'may_have_arrived'
            when b.fallback_id is not null then 'fell_back' end as doubt
from deliveries d
join delivery_contents c on c.delivery_id = d.id
join enrolments e on e.id = d.enrolment_id
left join {publish}.failed_deliveries f on f.id = d.id
left join fallbacks b on b.delivery_id = d.id
left join {publish}.contacts a on a.user_id = d.user_id and a.channel = d.channel
left join lateral (
    select e.reason from {publish}.email_suppressions e where d.channel = 'email' and e.address_key = lower(a.address) limit 1
) s on true
left join lateral (
    select n.id from deliveries n
    where n.enrolment_id = d.enrolment_id and n.step = d.step and n.channel = d.channel and n.round > d.round
    order by n.round desc limit 1) newer on true

-- name: consent
-- The word that counts for a delivery of this type.
case {publish}.message_kind(d.sequence_type) when 'announcement' then a.announcement_consent else a.consent end

-- name: rounds_plan
-- A new round of each: the same place and words, the address of now, and as much time as the first one had.
with asked as (
    select u.* from unnest($2::uuid[], $3::uuid[], $4::text[], $5::jsonb[]) as u (id, again, address, decision)
), planned as (
    insert into deliveries (id, enrolment_id, user_id, sequence_type, step, channel, round, scheduled_at, created_at, variant, tier)
    select a.again, d.enrolment_id, d.user_id, d.sequence_type, d.step, d.channel, d.round + 1, $1, $1, d.variant, d.tier
    from asked a join deliveries d on d.id = a.id
    returning id, channel, sequence_type, round
), worded as (
    insert into delivery_contents (delivery_id, address, template, subject, body, params, decision, expires_at, traceparent)
    select a.again, a.address, c.template, c.subject, c.body, c.params, a.decision, $1 + (c.expires_at - d.scheduled_at), $6
    from asked a join delivery_contents c on c.delivery_id = a.id join deliveries d on d.id = a.id
)
select id, channel, sequence_type, round from planned order by id

-- name: archive_failed
-- Out of the queue; the rows and what they count for stay.
insert into archived_deliveries (delivery_id, command_id, at)
select id, $2, $3 from {publish}.failed_deliveries where channel = $1 on conflict do nothing

-- name: job_open
-- The people of a list or segment, resolved once.
insert into start_jobs (command_id, sequence_id, sequence_type, user_ids, context, override_channel, at, traceparent)
values ($1, $2, $3, coalesce($4::uuid[], (select coalesce(array_agg(id order by id), '{}') from {publish}.people)), $5, $6, $7, $8)
on conflict do nothing

-- name: simulated_people
-- How many a segment has, and up to $1 of them: the same ones each time, and chosen without regard to when they came.
select (select count(*) from {publish}.people) as people,
       array(select id from {publish}.people order by md5(id::text) limit $1) as ids

-- name: job_wait
-- A cancel lets the page in progress end, so that it sees everybody who was started.
select from start_jobs where command_id = $1 for update

-- name: jobs_cancel
-- Starts of many people that are not through: they end where they are, each after the page in progress.
with running as (select command_id from start_jobs where not done order by command_id for update)
insert into cancelled_starts (command_id, at) select command_id, $1 from running on conflict do nothing

-- name: job_claim
-- The oldest open job's next page; only one controller works on it at a time.
select command_id, sequence_id, sequence_type, user_ids[cursor + 1 : cursor + $1] as page, cardinality(user_ids) as people, cursor,
       context, override_channel, at, started, running, refused_by_reason, refused, traceparent
from start_jobs where not done order by at limit 1 for update skip locked

-- name: job_advance
-- Cursor and counts move in the transaction of the enrolments they count.
update start_jobs set cursor = $2, started = $3, running = $4, refused_by_reason = $5, refused = $6, done = $7 where command_id = $1

-- name: events_log
-- Insert-only inbox: what comes twice is logged once. An event without a delivery finds it by provider id, or waits; one about a
-- delivery that nobody planned here (another installation on the same account, a try by hand) is none of ours.
with heard as (
    select u.event_id,
           coalesce(u.delivery_id, (select s.delivery_id from delivery_events s
                                    where s.provider_id = u.provider_id and s.kind = 'sent' limit 1)) as delivery_id,
           u.provider_id, u.kind, u.at, u.detail
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::jsonb[])
         as u (event_id, delivery_id, provider_id, kind, at, detail)
    where u.delivery_id is null or exists (select from deliveries d where d.id = u.delivery_id))
insert into delivery_events (event_id, delivery_id, provider_id, kind, at, detail)
select * from heard order by event_id on conflict (event_id) do nothing
returning delivery_id, provider_id, kind, at, detail

-- name: events_waiting
-- Events that came before their send was known.
update delivery_events set delivery_id = u.delivery_id
from unnest($1::text[], $2::uuid[]) as u (provider_id, delivery_id)
where delivery_events.delivery_id is null and delivery_events.provider_id = u.provider_id
returning delivery_events.delivery_id, delivery_events.provider_id, kind, at, detail

-- name: facts_fold
-- Facts by minimum, rows in id order so that two folds never wait for each other in a circle.
with told as (
    select * from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                         $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[],
                         $12::timestamptz[], $13::text[], $14::text[], $15::smallint[], $16::boolean[])
        as t (id, sent_at, delivered_at, opened_at, clicked_at, bounced_at, complained_at, failed_at, suppressed_at, cancelled_at,
              expired_at, unknown_at, reason, provider_id, attempts, possible_duplicate)),
held as materialized (
    select d.id from deliveries d where d.id in (select id from told) order by d.id for update)
update deliveries d
set sent_at = least(d.sent_at, t.sent_at), delivered_at = least(d.delivered_at, t.delivered_at),
    opened_at = least(d.opened_at, t.opened_at), clicked_at = least(d.clicked_at, t.clicked_at),
    bounced_at = least(d.bounced_at, t.bounced_at), complained_at = least(d.complained_at, t.complained_at),
    failed_at = least(d.failed_at, t.failed_at), suppressed_at = least(d.suppressed_at, t.suppressed_at),
    cancelled_at = least(d.cancelled_at, t.cancelled_at), expired_at = least(d.expired_at, t.expired_at),
    unknown_at = least(d.unknown_at, t.unknown_at), failure_reason = least(d.failure_reason, t.reason),
    provider_id = least(d.provider_id, t.provider_id), attempts = greatest(d.attempts, t.attempts),
    possible_duplicate = d.possible_duplicate or t.possible_duplicate
from told t join held h on h.id = t.id
where d.id = h.id

-- name: failures
-- Which of these were failures that nobody has judged yet; their enrolments are held so that no step is planned meanwhile.
select d.id, d.channel, d.step, d.scheduled_at, d.fallback_of is not null as is_fallback,
       coalesce(d.delivered_at, d.opened_at, d.clicked_at, d.complained_at) is not null as evidence,
       e.id as enrolment_id, e.user_id, e.sequence_id, e.sequence_type, e.override_channel, e.context,
       e.last_delivery_id = d.id as current, e.state in ('active', 'completed') as running,
       (select c.traceparent from delivery_contents c where c.delivery_id = d.id) as traceparent
from deliveries d join enrolments e on e.id = d.enrolment_id
where d.id = any($1::uuid[]) and not exists (select from fallbacks f where f.delivery_id = d.id)
order by e.id for update of e

-- name: fallbacks_note
-- One verdict a failure, with its reasons.
insert into fallbacks (delivery_id, fallback_id, at, decision)
select u.* from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::jsonb[]) as u on conflict do nothing

-- name: enrolments_follow
-- The step goes on with its fallback: the next one waits for that.
update enrolments e set last_delivery_id = u.delivery_id
from unnest($1::uuid[], $2::uuid[]) as u (id, delivery_id) where e.id = u.id

-- name: analytics_fold
-- Adds up to $1 changes to their counters, in one statement, so that the sum of both tables is the same before and after. Counters
-- in the order of their key: two controllers that do this at once never wait for each other in a circle.
with taken as (
    delete from analytics_changes
    where ctid = any(array(select ctid from analytics_changes limit $1 for update skip locked)) returning *
), kept as (
    insert into analytics_counts as c
    select day, sequence_type, step, variant, channel,
        sum(planned), sum(sent), sum(delivered), sum(opened), sum(clicked), sum(bounced), sum(complained), sum(failed),
        sum(suppressed), sum(cancelled), sum(expired), sum(unknown), sum(fallbacks), sum(fallback_saves)
    from taken group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
    on conflict (day, sequence_type, step, variant, channel) do update set
        planned = c.planned + excluded.planned, sent = c.sent + excluded.sent, delivered = c.delivered + excluded.delivered,
        opened = c.opened + excluded.opened, clicked = c.clicked + excluded.clicked, bounced = c.bounced + excluded.bounced,
        complained = c.complained + excluded.complained, failed = c.failed + excluded.failed,
        suppressed = c.suppressed + excluded.suppressed, cancelled = c.cancelled + excluded.cancelled,
        expired = c.expired + excluded.expired, unknown = c.unknown + excluded.unknown,
        fallbacks = c.fallbacks + excluded.fallbacks, fallback_saves = c.fallback_saves + excluded.fallback_saves
)
select count(*) from taken

-- name: canary_forget
-- What the canary leaves behind, once no stream can bring it again: by an index of its two people's deliveries, and oldest first.
with old as materialized (
    select id, enrolment_id from deliveries
    where user_id = any($1::uuid[]) and created_at < $2::timestamptz - interval '35 days' order by id limit $3
), gone as (
    delete from deliveries where id in (select id from old)
), worded as (
    delete from delivery_contents where delivery_id in (select id from old)
), told as (
    delete from delivery_events where delivery_id in (select id from old)
), judged as (
    delete from fallbacks where delivery_id in (select id from old)
), ended as (
    delete from enrolments where id in (select enrolment_id from old)
), answered as (
    delete from command_results where command_id = any(array(
        select command_id from command_results where result ->> 'user_id' in
            ('6b16878e-cc92-58d8-b4fa-f1fd22c189ef', 'cbe71088-d487-5a47-9eb9-61299c455ab2')
            and at < $2::timestamptz - interval '35 days' order by at limit $3))
)
select count(*) from old

-- name: topology_noted
-- The last state in which the bus was found whole, and the time by the clock that outboxes go by.
select clock_timestamp() as now,
    (select coalesce(jsonb_object_agg(stream, to_jsonb(s)), '{}') from topology_streams s) as streams,
    (select coalesce(jsonb_object_agg(durable, to_jsonb(f)), '{}') from topology_floors f) as consumers

-- name: topology_note_stream
-- Written while healthy, or together with the loss.
insert into topology_streams (stream, created, first_seq, first_at, last_seq, last_at, vanished, seen_at)
values ($1, $2, $3, $4, $5, $6, $7, now())
on conflict (stream) do update set created = excluded.created, first_seq = excluded.first_seq, first_at = excluded.first_at,
    last_seq = excluded.last_seq, last_at = excluded.last_at, vanished = excluded.vanished, seen_at = excluded.seen_at

-- name: topology_note_consumers
-- The same for a stream's consumers; how far all was heard is never taken back.
insert into topology_floors (durable, stream, floor, created, consumed_at, consumed_to, seen_at)
select u.durable, u.stream, u.floor, u.created, u.consumed_at, u.consumed_to, now()
from unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
    as u (durable, stream, floor, created, consumed_at, consumed_to)
on conflict (durable) do update set stream = excluded.stream, floor = excluded.floor, created = excluded.created,
    consumed_at = coalesce(excluded.consumed_at, topology_floors.consumed_at),
    consumed_to = coalesce(excluded.consumed_to, topology_floors.consumed_to), seen_at = excluded.seen_at

-- name: bus_losses_lock
-- Losses become visible in the order of their numbers, also while the lease changes hands.
lock table bus_losses in exclusive mode

-- name: bus_lost
-- A row for each subject: its services publish again what they published since then.
insert into bus_losses (stream, subject, since, reason)
select $1, u.subject, u.since, $2 from unnest($3::text[], $4::timestamptz[]) as u (subject, since)
