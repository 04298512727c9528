-- What a snapshot reads, all in one transaction. Whole tables: a check that looks at a part proves nothing about the rest.

-- name: moment
-- The first statement, so the snapshot is of this moment.
select clock_timestamp() as at, exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'controller' and c.relname = 'deliveries') as migrated

-- name: deliveries
-- Facts, and what was frozen with them; of the words only their hash.
select d.id, d.enrolment_id, d.user_id, d.sequence_type, d.step, d.channel, d.round, d.scheduled_at, d.created_at,
    d.complained_at, d.bounced_at, d.clicked_at, d.opened_at, d.delivered_at, d.sent_at, d.failed_at, d.suppressed_at,
    d.cancelled_at, d.expired_at, d.unknown_at, d.failure_reason, d.provider_id, d.attempts, d.status, d.fallback_of, d.variant,
    coalesce(c.address, '') as address, coalesce(c.expires_at, 'infinity') as expires_at, c.decision->>'decision' as decided,
    coalesce(c.decision ? 'resend_of', false) as by_operator,
    left(encode(sha256(convert_to(concat_ws(E'\x1f', c.subject, c.body, c.params), 'UTF8')), 'hex'), 32) as content
from controller.deliveries d left join controller.delivery_contents c on c.delivery_id = d.id

-- name: enrolments
select id, command_id, user_id, sequence_type, step, state, started_at, next_at, paused, last_delivery_id, ended_reason
from controller.enrolments

-- name: requests
select id, sequence_type, requested_at, next_at, cancelled_at from controller.message_requests

-- name: paused_types
select type from controller.paused_types

-- name: clock
-- How business time runs, as the controller was told.
select speed, real_epoch, business_epoch from controller.clock

-- name: events
-- A delivery's together, so that nobody has to hold all of them to sort them.
select event_id, delivery_id, kind, at, received_at, provider_id, detail->>'reason' as reason,
    coalesce((detail->>'attempts')::int, 0) as attempts, coalesce((detail->>'arrived')::boolean, false) as arrived,
    coalesce((detail->>'final')::boolean, false) as final, coalesce(detail->>'signal', 'unknown') as signal, detail->>'link' as link
from controller.delivery_events order by delivery_id, at

-- name: fallbacks
select delivery_id, fallback_id, at, decision->>'decision' as decision from controller.fallbacks

-- name: answers
select command_id, status, at, (result->>'started')::int as started, (result->>'enrolment_id')::uuid as enrolment_id
from controller.command_results

-- name: jobs
select command_id, cardinality(user_ids) as people, cursor, started, running, done from controller.start_jobs

-- name: email_pages
select id, members, received_at, test, claim_id from email.pages

-- name: email_claims
-- Results as text, to be read into rows at once.
select id, members, created_at, next_at, test, state, attempt, refusals, lease_until, first_call_at, may_have_arrived,
    results::text as results, settled_at
from email.claims

-- name: suppressions
-- What was reported and stands: an operator may have lifted it.
select address_key, reason, at, delivery_id from {publish}.email_suppressions where delivery_id is not null

-- name: telegram_pages
select id, members, received_at from telegram.pages

-- name: telegram_claims
select delivery_id, next_at, state, attempt, lease_until, chat_id, claimed_at, outcome, reason, provider_id, settled_at
from telegram.claims

-- name: chat_refusals
select chat_id, at from telegram.refusals

-- name: moved_chats
select chat_id, moved_to from telegram.chats where moved_to is not null

-- name: contacts
select user_id, channel, address, state, consent, consent_at, changed_at from gateway.contacts

-- name: commands
select id, kind, state, status, created_at, settled_at, expires_at, (result->>'started')::int as started,
    (result->>'enrolment_id')::uuid as enrolment_id
from gateway.commands

-- name: tests
select id from gateway.test_messages

-- name: counts
-- As operators see them.
select status, sum(deliveries)::bigint as deliveries from {publish}.delivery_counts group by status

-- name: analytics
-- As every page shows them.
select * from {publish}.delivery_analytics

-- name: dead_letters
select room, id, durable, reason, at, payload, replayed_at from {publish}.dead_letters

-- name: outbox
-- Without the payloads: what was said is in the rows.
select 'gateway' as room, id, subject, created_at, published_at from gateway.outbox
union all select 'controller', id, subject, created_at, published_at from controller.outbox
union all select 'email', id, subject, created_at, published_at from email.outbox
union all select 'telegram', id, subject, created_at, published_at from telegram.outbox
union all select 'scoring', id, subject, created_at, published_at from scoring.outbox

-- name: refilling
-- Rooms that have not said again yet what the bus has lost.
with latest as (select coalesce(max(n), 0) as n from controller.bus_losses)
select a.room from (
    select 'gateway' as room, n from gateway.refilled union all select 'controller', n from controller.refilled
    union all select 'email', n from email.refilled union all select 'telegram', n from telegram.refilled
    union all select 'scoring', n from scoring.refilled
) a, latest where a.n < latest.n

-- name: pace
select account, interval_seconds, case when parked_until > now() then park_reason end as parked from email.pace
union all select account, interval_seconds, case when parked_until > now() then park_reason end from telegram.pace

-- name: score_states
select user_id, email_r, email_n, telegram_r, telegram_n, attendance_r, attendance_n, commitment_r, commitment_n
from scoring.states where updated_at is not null

-- name: score_means
select kind, r, n from scoring.means

-- name: credits
select delivery_id, user_id, channel, extract(epoch from delivered_at)::float8 as delivered_at,
    extract(epoch from goal_at)::float8 as goal_at, credit, signals::text as signals
from scoring.message_credits

-- name: occasions
select user_id, event, extract(epoch from at)::float8 as at from scoring.external_events
