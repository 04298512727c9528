-- What other rooms and operators may read of the controller. Applied again after every migration.
create or replace view {publish}.sequences as
select id, type, version, definition, toml, published_at from controller.sequences;
grant select on {publish}.sequences to nurture_gateway, nurture_email, nurture_telegram, nurture_scoring;

create or replace view {publish}.enrolments as
select e.id, e.command_id, e.user_id, e.sequence_type, s.version as sequence_version, e.step, e.next_at, e.state,
       e.override_channel as channel, e.context, e.last_delivery_id, e.started_at, e.ended_at, e.ended_reason, e.paused
from controller.enrolments e join controller.sequences s on s.id = e.sequence_id;
grant select on {publish}.enrolments to nurture_gateway, nurture_scoring;

create or replace view {publish}.start_jobs as
select command_id, sequence_type, cardinality(user_ids) as people, cursor, started, running, refused_by_reason, refused, done
from controller.start_jobs;
grant select on {publish}.start_jobs to nurture_gateway;

create or replace view {publish}.message_deliveries as
select d.id, d.user_id, d.sequence_type, d.step::int as message_step, d.channel,
       case d.status
           when 'complained' then 'delivered'
           when 'suppressed' then 'failed'
           when 'cancelled' then 'failed'
           when 'expired' then 'failed'
           when 'unknown' then 'failed'
           else d.status end as delivery_status,
       d.status as status_detail,
       c.address as recipient_address, c.body as message_content, c.subject, c.template,
       d.scheduled_at, d.sent_at, d.delivered_at, d.opened_at, d.clicked_at, d.bounced_at, d.complained_at,
       coalesce(d.failed_at, d.bounced_at, d.suppressed_at, d.cancelled_at, d.expired_at, d.unknown_at) as failed_at,
       d.failure_reason, d.id::text as tracking_id, d.attempts::int as attempt_count, 3 as max_attempts,
       c.params as metadata, d.created_at, d.enrolment_id, d.round::int as round, d.provider_id, d.variant, d.tier,
       d.fallback_of
from controller.deliveries d join controller.delivery_contents c on c.delivery_id = d.id;
grant select on {publish}.message_deliveries to nurture_gateway, nurture_scoring;

create or replace view {publish}.delivery_events as
select event_id, delivery_id, provider_id, kind, at, detail, received_at from controller.delivery_events;
grant select on {publish}.delivery_events to nurture_gateway, nurture_scoring;

create or replace view {publish}.delivery_decisions as
select c.delivery_id, c.decision, f.decision as fallback, f.fallback_id
from controller.delivery_contents c left join controller.fallbacks f on f.delivery_id = c.delivery_id;
grant select on {publish}.delivery_decisions to nurture_gateway;

create or replace view {publish}.paused_sequences as select type, at from controller.paused_types;
grant select on {publish}.paused_sequences to nurture_gateway;

create or replace view {publish}.delivery_counts as
select sequence_type, step::int as step, channel, status, count(*) as deliveries
from controller.deliveries group by 1, 2, 3, 4;
grant select on {publish}.delivery_counts to nurture_gateway;

create or replace view {publish}.outbound_messages as
select d.id as delivery_id, d.user_id, d.channel, c.address, c.template, c.subject, c.body, c.params, c.expires_at,
       e.state <> 'cancelled' as enrolment_active
from controller.deliveries d
join controller.delivery_contents c on c.delivery_id = d.id
join controller.enrolments e on e.id = d.enrolment_id;
grant select on {publish}.outbound_messages to nurture_email, nurture_telegram, nurture_gateway, nurture_scoring;
