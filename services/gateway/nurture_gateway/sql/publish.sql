-- What other rooms and operators may read of people, their addresses and their consent. Applied after every migration run.
-- `people` is for our own services, with ids as uuid. `users` is for everybody's SQL: there an id of a person is text, so
-- that asking for one that is none finds nothing and is no error.
create or replace view {publish}.people as
select u.id, u.external_id, u.first_name, e.address as email, t.address as telegram_chat_id, u.timezone, u.locale,
    u.attributes, u.preferred_channel, u.preferred_time, u.created_at, u.updated_at
from gateway.users u
left join gateway.contacts e on e.user_id = u.id and e.channel = 'email'
left join gateway.contacts t on t.user_id = u.id and t.channel = 'telegram';

create or replace view {publish}.users as
select u.id::text as id, u.external_id, u.first_name, e.address as email, t.address as telegram_chat_id, u.timezone, u.locale,
    u.attributes, u.preferred_channel, u.preferred_time, u.created_at, u.updated_at
from gateway.users u
left join gateway.contacts e on e.user_id = u.id and e.channel = 'email'
left join gateway.contacts t on t.user_id = u.id and t.channel = 'telegram';

-- The canary of each channel that has one: nobody of the people above, and reachable below as they are.
create or replace view {publish}.canaries as
select user_id, channel, address, since from gateway.canaries;

-- Who may be reached where, and with what. Somebody who wants no sequences on a channel has refused it as far as sequences go,
-- which is what `consent` says; `announcement_consent` says the same of announcements. `unsubscribed` is the person's own word,
-- which is about everything, and `consent_at` when they last gave one (null: never). The address is theirs since `addressed_at`.
create or replace view {publish}.contacts as
select user_id, channel, address, state,
    coalesce(reason, case
        when not opt_in_sequences and not opt_in_announcements then 'wants neither sequences nor announcements'
        when not opt_in_sequences then 'wants no sequences'
        when not opt_in_announcements then 'wants no announcements' end) as reason,
    case when opt_in_sequences then consent else 'refused' end as consent, changed_at, consent_at,
    case when opt_in_announcements then consent else 'refused' end as announcement_consent, consent = 'refused' as unsubscribed,
    coalesce(addressed_at, changed_at) as addressed_at
from gateway.contacts
union all select user_id, channel, address, 'ok', null, 'granted', since, null, 'granted', false, since from gateway.canaries;

create or replace view {publish}.user_email_preferences as
select c.user_id as id, u.id::text as user_id, c.address as email_address, v.verified_at is not null as is_verified,
    case when v.waiting then 'kept as a hash only' end as verification_token, v.sent_at as verification_sent_at, v.verified_at,
    c.consent = 'granted' and c.opt_in_sequences as opt_in_sequences,
    c.consent = 'granted' and c.opt_in_announcements as opt_in_announcements, u.preferred_time, u.timezone,
    case when c.consent = 'refused' then c.consent_at end as unsubscribed_at, u.created_at,
    c.state as address_state, c.reason as address_reason, c.consent, u.preferred_channel, c.changed_at
from gateway.contacts c join gateway.users u on u.id = c.user_id
cross join lateral (
    select min(p.verified_at) as verified_at, max(p.sent_at) as sent_at,
        bool_or(p.verified_at is null and p.expires_at > now()) as waiting
    from gateway.verifications p where p.user_id = c.user_id and p.address_key = c.address_key
) v
where c.channel = 'email' and c.address is not null;

-- Whom a text means: an id, else an external id; null for nobody.
create or replace function {publish}.person_id(ref text) returns uuid
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(
        (select u.id from gateway.users u where u.id =
            case when $1 ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then $1::uuid end),
        (select u.id from gateway.users u where u.external_id = $1))
$$;

create or replace view {publish}.test_messages as
select id, address, user_name, template, requested_at, purpose, user_id from gateway.test_messages;

-- What operators said of addresses, for the room that keeps what providers reported.
create or replace view {publish}.suppressions_by_hand as
select address_key, verdict, note, at from gateway.suppressions_by_hand;
grant select on {publish}.suppressions_by_hand to nurture_email;

grant select on {publish}.canaries to nurture_controller;
grant select on {publish}.people, {publish}.contacts
    to nurture_gateway, nurture_controller, nurture_email, nurture_telegram, nurture_scoring;
grant select on {publish}.test_messages to nurture_email;

-- Updates of the bot that came over HTTP, a page a moment.
create or replace view {publish}.telegram_inbox as
select id as page_id, items from gateway.inbound_pages where kind = 'telegram';
grant select on {publish}.telegram_inbox to nurture_telegram;

-- Dead letters of every room, for the one who answers for all of them.
create or replace view {publish}.dead_letters as
select 'gateway' as room, id, durable, subject, payload, reason, at, replayed_at from gateway.dead_letters
union all select 'controller', id, durable, subject, payload, reason, at, replayed_at from controller.dead_letters
union all select 'email', id, durable, subject, payload, reason, at, replayed_at from email.dead_letters
union all select 'telegram', id, durable, subject, payload, reason, at, replayed_at from telegram.dead_letters
union all select 'scoring', id, durable, subject, payload, reason, at, replayed_at from scoring.dead_letters;
grant select on {publish}.dead_letters to nurture_gateway;

-- Every process of every room, for the one page that shows them all.
create or replace view {publish}.service_presence as
select 'gateway' as room, instance, started_at, seen_at, problems, held from gateway.presence
union all select 'controller', instance, started_at, seen_at, problems, held from controller.presence
union all select 'email', instance, started_at, seen_at, problems, held from email.presence
union all select 'telegram', instance, started_at, seen_at, problems, held from telegram.presence
union all select 'scoring', instance, started_at, seen_at, problems, held from scoring.presence;
grant select on {publish}.service_presence to nurture_gateway;
