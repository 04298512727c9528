-- What other rooms and operators may read of the controller. Applied again after every migration.
-- The canary is sent to as everybody is, and counts nowhere: `outbound_messages` and `canary_runs` alone know it.
create or replace view {publish}.sequences as
select id, type, version, definition, toml, published_at from controller.sequences;
grant select on {publish}.sequences to nurture_gateway, nurture_email, nurture_telegram, nurture_scoring;

-- A message that was asked for in SQL is an enrolment of its own, of no published version: 0.
create or replace view {publish}.enrolments as
select e.id, e.command_id, e.user_id, e.sequence_type, coalesce(s.version, 0) as sequence_version, e.step, e.next_at, e.state,
       e.override_channel as channel, e.context, e.last_delivery_id, e.started_at, e.ended_at, e.ended_reason, e.paused
from controller.enrolments e left join controller.sequences s on s.id = e.sequence_id
where e.sequence_type <> '_canary';
grant select on {publish}.enrolments to nurture_gateway, nurture_scoring;

create or replace view {publish}.start_jobs as
select command_id, sequence_type, cardinality(user_ids) as people, cursor, started, running, refused_by_reason, refused, done
from controller.start_jobs;
grant select on {publish}.start_jobs to nurture_gateway;

-- For our own services, with ids as uuid. The seven words of `delivery_status` are fewer than ours, which stand beside them.
-- `max_attempts` is what the channel's room is set to now; until it has started once, what it is set to by default.
create or replace view {publish}.deliveries as
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
       d.failure_reason, d.id::text as tracking_id, d.attempts::int as attempt_count,
       coalesce(case d.channel when 'email' then (select max_attempts from email.limits)
                    else (select max_attempts from telegram.limits) end, 3) as max_attempts,
       coalesce(c.params -> 'metadata', '{}') || (c.params - 'metadata') as metadata,
       d.created_at, d.enrolment_id, d.round::int as round, d.provider_id, d.variant, d.tier, d.fallback_of,
       d.possible_duplicate, split_part(c.traceparent, '-', 2) as trace_id
from controller.deliveries d join controller.delivery_contents c on c.delivery_id = d.id
where d.sequence_type <> '_canary';
grant select on {publish}.deliveries to nurture_gateway, nurture_scoring;

-- The same for everybody's SQL: the id of a person is text. What never failed for good shows no time of failure.
create or replace view {publish}.message_deliveries as
select id, user_id::text as user_id, sequence_type, message_step, channel, delivery_status, recipient_address, message_content,
       scheduled_at, sent_at, delivered_at, opened_at, clicked_at,
       case when delivery_status in ('failed', 'bounced') then failed_at end as failed_at,
       failure_reason, tracking_id, attempt_count, max_attempts, metadata, created_at,
       status_detail, subject, template, bounced_at, complained_at, enrolment_id, round, provider_id, variant, tier, fallback_of,
       possible_duplicate
from {publish}.deliveries;

-- To which trace each delivery belongs.
create or replace view {publish}.delivery_traces as select delivery_id, traceparent from controller.delivery_contents;
grant select on {publish}.delivery_traces to nurture_gateway;

create or replace view {publish}.delivery_events as
select event_id, delivery_id, provider_id, kind, at, detail, received_at from controller.delivery_events;
grant select on {publish}.delivery_events to nurture_gateway, nurture_scoring;

create or replace view {publish}.delivery_decisions as
select c.delivery_id, c.decision, f.decision as fallback, f.fallback_id
from controller.delivery_contents c left join controller.fallbacks f on f.delivery_id = c.delivery_id;
grant select on {publish}.delivery_decisions to nurture_gateway;

create or replace view {publish}.paused_sequences as
select type, at from controller.paused_types where type <> '*';
grant select on {publish}.paused_sequences to nurture_gateway;

-- Which database this is: the server's own number and the database's in it. Every claim asks, so it reads one small file and
-- no more; what it reads is not for everybody, hence the definer's rights.
create or replace function {publish}.database_identity() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select c.system_identifier || '/' || d.oid from pg_control_system() c, pg_database d where d.datname = current_database()
$$;
grant execute on function {publish}.database_identity()
    to nurture_gateway, nurture_controller, nurture_email, nurture_telegram;

-- What is held, and why: a sequence type, or `*` for everything. Nothing of a held type is planned, and no channel claims it.
-- `paused`: an operator said so. `restored`: this is not the database that was confirmed last, or it is older than the bus;
-- it is seen here without anybody's doing, so that nothing can be sent before somebody looks.
create or replace view {publish}.holds as
select type as sequence_type, 'paused' as reason, at, null::text as detail from controller.paused_types
union all
select '*', 'restored', coalesce(restored_at, now()),
    coalesce(evidence, 'this database is a copy, or was restored from a dump: it was confirmed as ' || identity
        || ' and is ' || {publish}.database_identity())
from controller.installation
where restored_at is not null or identity <> {publish}.database_identity();
grant select on {publish}.holds to nurture_gateway, nurture_controller, nurture_email, nurture_telegram;

-- Whether a type is held, or everything (`*`), or anything at all (null). A function, since it keeps its plan: what asks this
-- is planned anew for each claim.
create or replace function {publish}.is_held(what text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists(select from {publish}.holds h where what is null or h.sequence_type in ('*', what));
end $$;
grant execute on function {publish}.is_held(text) to nurture_controller, nurture_email, nurture_telegram;

-- What every room said in the last week, for those who ask whether the database knows what is on the bus.
create or replace view {publish}.said_messages as
select id from gateway.outbox union all select id from controller.outbox union all select id from email.outbox
union all select id from telegram.outbox union all select id from scoring.outbox;
grant select on {publish}.said_messages to nurture_controller, nurture_email, nurture_telegram;

-- Since when what this database says counts: a message of ours that is younger and not known here was forgotten.
create or replace view {publish}.installation as select confirmed_at, restored_at from controller.installation;
grant select on {publish}.installation to nurture_gateway, nurture_controller, nurture_email, nurture_telegram;

-- What certainly did not go out and nobody has dealt with: not sent once more, and not taken out of the queue.
create or replace view {publish}.failed_deliveries as
select d.id, d.user_id, d.channel, d.sequence_type, d.step::int as step, d.status, d.failure_reason, d.created_at
from controller.deliveries d
where (d.failed_at is not null or d.expired_at is not null or d.unknown_at is not null) and d.status in ('failed', 'expired')
    and d.sequence_type <> '_canary'
    and not exists (select from controller.archived_deliveries a where a.delivery_id = d.id)
    and not exists (
        select from controller.deliveries n
        where n.enrolment_id = d.enrolment_id and n.step = d.step and n.channel = d.channel and n.round > d.round);
grant select on {publish}.failed_deliveries to nurture_gateway, nurture_controller;

-- What each channel has before it and behind it; always two rows.
create or replace view {publish}.delivery_queue as
select c.channel, w.pending, w.oldest_at, f.failed, u.unknown
from (values ('email'), ('telegram')) as c (channel)
cross join lateral (
    select count(*) as pending, min(d.scheduled_at) as oldest_at from controller.deliveries d
    where d.unsettled and d.channel = c.channel and d.sequence_type <> '_canary') w
cross join lateral (select count(*) as failed from {publish}.failed_deliveries d where d.channel = c.channel) f
cross join lateral (
    select count(*) as unknown from controller.deliveries d
    where (d.failed_at is not null or d.expired_at is not null or d.unknown_at is not null) and d.status = 'unknown'
        and d.channel = c.channel and d.sequence_type <> '_canary') u;
grant select on {publish}.delivery_queue to nurture_gateway;

-- Deliveries without their words, for those who count.
create or replace view {publish}.delivery_facts as
select id, enrolment_id, user_id, sequence_type, step::int as step, channel, round::int as round, variant, tier, fallback_of,
       scheduled_at, created_at, sent_at, delivered_at, opened_at, clicked_at, bounced_at, complained_at, failed_at,
       suppressed_at, cancelled_at, expired_at, unknown_at, status, failure_reason
from controller.deliveries where sequence_type <> '_canary';
grant select on {publish}.delivery_facts to nurture_gateway;

-- Those with a variant that were sent, for whoever compares variants. Columns as they are stored: of `step::int` the planner
-- would think that nearly no row has the one asked for, and look up a million rows one by one.
create or replace view {publish}.variant_deliveries as
select id, enrolment_id, user_id, sequence_type, step, variant, sent_at, delivered_at, opened_at, clicked_at, complained_at
from controller.deliveries where variant is not null and sent_at is not null and sequence_type <> '_canary';
grant select on {publish}.variant_deliveries to nurture_gateway;

-- What became of messages, by the day they were planned (UTC), sequence, step, variant and channel: a message counts for every fact
-- that it has. `fallbacks` were second tries on the other channel, `fallback_saves` those of them that arrived.
create or replace view {publish}.delivery_analytics as
select day, sequence_type, step::int as step, nullif(variant, '') as variant, channel,
    sum(planned)::bigint as planned, sum(sent)::bigint as sent, sum(delivered)::bigint as delivered,
    sum(opened)::bigint as opened, sum(clicked)::bigint as clicked, sum(bounced)::bigint as bounced,
    sum(complained)::bigint as complained, sum(failed)::bigint as failed, sum(suppressed)::bigint as suppressed,
    sum(cancelled)::bigint as cancelled, sum(expired)::bigint as expired, sum(unknown)::bigint as unknown,
    sum(fallbacks)::bigint as fallbacks, sum(fallback_saves)::bigint as fallback_saves
from (select * from controller.analytics_counts union all select * from controller.analytics_changes) c
group by c.day, c.sequence_type, c.step, c.variant, c.channel;
grant select on {publish}.delivery_analytics to nurture_gateway;

-- The arms of experiments since they began: how many each was planned for (`assigned`; a second try on the other channel is the same
-- assignment), and what came of it. Rates are parts of one: bounces of what was sent, clicks of what was sent and did not bounce,
-- since over SMTP nobody reports deliveries, and opens of the emails among that, since nobody reports when a Telegram message is opened.
create or replace view {publish}.experiment_counts as
select sequence_type, step, variant, min(day) as since, max(day) as until,
       sum(planned - fallbacks)::bigint as assigned, sum(sent)::bigint as sent, sum(delivered)::bigint as delivered,
       sum(opened)::bigint as opened, sum(clicked)::bigint as clicked, sum(bounced)::bigint as bounced,
       sum(complained)::bigint as complained,
       round(sum(opened) / nullif(sum(sent - bounced) filter (where channel = 'email'), 0), 4) as open_rate,
       round(sum(clicked) / nullif(sum(sent) - sum(bounced), 0), 4) as click_rate,
       round(sum(bounced) / nullif(sum(sent), 0), 4) as bounce_rate
from {publish}.delivery_analytics where variant is not null group by 1, 2, 3;
grant select on {publish}.experiment_counts to nurture_gateway;

create or replace view {publish}.delivery_counts as
select sequence_type, step::int as step, channel, status, count(*) as deliveries,
       count(*) filter (where possible_duplicate) as possible_duplicates
from controller.deliveries where sequence_type <> '_canary' group by 1, 2, 3, 4;
grant select on {publish}.delivery_counts to nurture_gateway;

-- Whether a message is one of a sequence or an announcement, which people agree to apart; its type's name says so, as in
-- sequence.py. A test holds them together.
create or replace function {publish}.message_kind(sequence_type text) returns text
language sql immutable parallel safe as $$
    select case when sequence_type ~ '^announcements?([_-]|$)' then 'announcement' else 'sequence' end
$$;
grant execute on function {publish}.message_kind(text)
    to nurture_email, nurture_telegram, nurture_gateway, nurture_scoring, nurture_controller;

create or replace view {publish}.outbound_messages as
select d.id as delivery_id, d.user_id, d.channel, c.address, c.template, c.subject, c.body, c.params, c.expires_at,
       e.state <> 'cancelled' as enrolment_active, d.sequence_type, c.traceparent, {publish}.message_kind(d.sequence_type) as kind
from controller.deliveries d
join controller.delivery_contents c on c.delivery_id = d.id
join controller.enrolments e on e.id = d.enrolment_id;
grant select on {publish}.outbound_messages to nurture_email, nurture_telegram, nurture_gateway, nurture_scoring;

-- How each start of the canary went. By the database's clock, since the provider's may differ and business time may run faster.
create or replace view {publish}.canary_runs as
select e.command_id, d.id as delivery_id, d.status, d.failure_reason, v.sent_at, v.arrived_at
from controller.enrolments e join controller.deliveries d on d.enrolment_id = e.id
cross join lateral (
    select min(received_at) filter (where kind = 'sent') as sent_at,
           min(received_at) filter (where kind in ('delivered', 'opened', 'clicked') or (detail ->> 'arrived')::boolean
               or (detail ->> 'final')::boolean)
               as arrived_at
    from controller.delivery_events where delivery_id = d.id) v
where e.sequence_type = '_canary';
grant select on {publish}.canary_runs to nurture_gateway;

-- Single messages that were asked for in SQL, and whether each is planned yet; then it is a delivery of the same id.
create or replace view {publish}.message_requests as
select id, user_id::text as user_id, sequence_type, step::int as message_step, channels, scheduled_at, metadata, requested_at,
       requested_by,
       case when cancelled_at is not null then 'cancelled' when next_at is null then 'planned' else 'waiting' end as state
from controller.message_requests;
grant select on {publish}.message_requests to nurture_gateway;

-- Now, as the services count it: business time may run faster than the wall clock in the sandbox.
create or replace function {publish}.business_now() returns timestamptz
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce((
        select to_timestamp(c.business_epoch + (extract(epoch from statement_timestamp())::float8 - c.real_epoch) * c.speed)
        from controller.clock c where c.speed <> 1 or c.business_epoch <> c.real_epoch
    ), statement_timestamp())
$$;

-- The channel that planning would choose now for a step that names none: planning.py and choosing.py in SQL. A test holds
-- them together. Null for nobody, and for somebody who can be reached nowhere.
create or replace function {publish}.get_preferred_channel(user_id text) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    person constant uuid := {publish}.person_id($1);
    moment constant timestamptz := {publish}.business_now();
    wish text;
    email boolean;
    telegram boolean;
    lead float8;
begin
    select p.preferred_channel into wish from {publish}.people p where p.id = person;
    if not found then
        return null;
    end if;
    select coalesce(bool_or(c.channel = 'email'), false), coalesce(bool_or(c.channel = 'telegram' and t.ready), false)
    into email, telegram
    from {publish}.contacts c cross join {publish}.telegram_channel t
    where c.user_id = person and c.address is not null and c.state = 'ok' and c.consent = 'granted';
    if not (email and telegram) then
        return case when email then 'email' when telegram then 'telegram' end;
    end if;
    if wish is not null then
        return wish;
    end if;
    -- 20 is the score of somebody of whom nothing is known, and two points are a clear lead.
    select coalesce(max(s.score) filter (where s.kind = 'telegram'), 20)
        - coalesce(max(s.score) filter (where s.kind = 'email'), 20) into lead
    from (
        select g.kind, case when g.blocked then 0
            else {publish}.engagement_score_at(g.r, g.n, coalesce(m.r, 0), coalesce(m.n, 0), moment) end::float8 as score
        from {publish}.engagement_states g left join {publish}.engagement_means m on m.kind = g.kind
        where g.user_id = person and g.kind in ('email', 'telegram')
    ) s;
    return case when lead >= 2 then 'telegram' else 'email' end;
end $$;

-- Asks for one message. It commits with the caller's transaction; the controller plans it under the same rules as any step:
-- consent, address, channel, time. The answer is the id that its row in message_deliveries will have.
create or replace function {publish}.schedule_multi_channel_message(
    p_user_id text, p_sequence_type text, p_message_step int, p_channels text[], p_scheduled_at timestamptz, p_content text,
    p_metadata jsonb default '{}'
) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    person constant uuid := {publish}.person_id(p_user_id);
    channels constant text[] := coalesce(p_channels, '{}');
    metadata constant jsonb := coalesce(p_metadata, '{}');
    moment constant timestamptz := {publish}.business_now();
    problem constant text := case
        when person is null then format('p_user_id: there is no person %L', p_user_id)
        when coalesce(p_sequence_type !~ '^[a-z0-9][a-z0-9_-]{0,63}$', true)
            then format('p_sequence_type: %L is not a name like onboarding', p_sequence_type)
        when coalesce(p_message_step not between 1 and 1000, true) then 'p_message_step: takes 1 to 1000'
        when coalesce(array_ndims(channels), 1) > 1 or not channels <@ array['email', 'telegram'] or cardinality(channels) > 2
            or channels = array['email', 'email'] or channels = array['telegram', 'telegram'] or array_position(channels, null) > 0
            then 'p_channels: takes email and telegram in the order to try them, each once; none means the person''s best'
        when p_scheduled_at in ('infinity', '-infinity') or p_scheduled_at > moment + interval '366 days'
            then 'p_scheduled_at: takes a time within 366 days'
        when coalesce(btrim(p_content, E' 	
') = '', true) then 'p_content: is empty'
        when octet_length(p_content) > 65536 then 'p_content: has more than 64 KiB'
        when jsonb_typeof(metadata) <> 'object' then 'p_metadata: takes a JSON object'
        when octet_length(metadata::text) > 16384 then 'p_metadata: has more than 16 KiB'
        when jsonb_typeof(metadata -> 'subject') <> 'string' then 'p_metadata: its subject is not a text'
        when (metadata ->> 'template') not in ('nurture_sequence', 'welcome_email')
            or jsonb_typeof(metadata -> 'template') <> 'string'
            then 'p_metadata: its template is not nurture_sequence or welcome_email'
        end;
    -- A UUIDv7, as everywhere: 48 bits of milliseconds, then chance.
    bytes constant bytea := overlay(uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6);
    id constant uuid := encode(set_byte(bytes, 6, (get_byte(bytes, 6) & 15) | 112), 'hex')::uuid;
begin
    if problem is not null then
        raise exception using errcode = 'invalid_parameter_value', message = problem,
            hint = 'schedule_multi_channel_message(user_id, sequence_type, step, channels, scheduled_at, content, metadata)';
    end if;
    insert into controller.message_requests
        (id, user_id, sequence_type, step, channels, scheduled_at, content, metadata, requested_at, requested_by, next_at)
    values (id, person, p_sequence_type, p_message_step, channels, p_scheduled_at, p_content, metadata, moment, session_user,
        coalesce(p_scheduled_at, moment));
    return id;
end $$;

-- What the bus may have lost; every room answers by publishing its outbox again.
create or replace view {publish}.bus_losses as select n, stream, subject, since, at, reason from controller.bus_losses;
grant select on {publish}.bus_losses to nurture_controller, nurture_gateway, nurture_email, nurture_telegram, nurture_scoring;
