-- What other rooms may read of people, their addresses and their consent. Applied after every migration run.
create or replace view {publish}.users as
select u.id, u.external_id, u.first_name, e.address as email, t.address as telegram_chat_id, u.timezone, u.locale,
    u.attributes, u.preferred_channel, u.preferred_time, u.created_at, u.updated_at
from gateway.users u
left join gateway.contacts e on e.user_id = u.id and e.channel = 'email'
left join gateway.contacts t on t.user_id = u.id and t.channel = 'telegram';

create or replace view {publish}.contacts as
select user_id, channel, address, state, reason, consent, changed_at from gateway.contacts;

create or replace view {publish}.user_email_preferences as
select c.user_id as id, c.user_id, c.address as email_address, false as is_verified, null::text as verification_token,
    null::timestamptz as verification_sent_at, null::timestamptz as verified_at,
    c.consent = 'granted' as opt_in_sequences, c.consent = 'granted' as opt_in_announcements,
    u.preferred_time, u.timezone, case when c.consent = 'refused' then c.consent_at end as unsubscribed_at, u.created_at
from gateway.contacts c join gateway.users u on u.id = c.user_id
where c.channel = 'email' and c.address is not null;

create or replace view {publish}.test_messages as
select id, address, user_name, template, requested_at from gateway.test_messages;

grant select on {publish}.users, {publish}.contacts
    to nurture_gateway, nurture_controller, nurture_email, nurture_telegram, nurture_scoring;
grant select on {publish}.user_email_preferences to nurture_controller, nurture_email;
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
