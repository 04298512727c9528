-- ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: lock_people
-- Whoever these rows mean now, held until the transaction ends. Apart from match_people, since a statement that has waited for
-- a lock reads the locked rows anew but all others, such as contacts, as they were before it waited.
with {use hit}
select id from users where id = any(array(select distinct coalesce(by_id, by_external_id, by_email) from hit)) order by id for update

-- name: hit
-- Subselects, not joins: a join would read the whole table for every page of an import.
hit as materialized (
    select r.n, (select i.id from users i where i.id = r.id) as by_id,
        (select x.id from users x where x.external_id = r.external_id) as by_external_id,
        (select e.user_id from contacts e where e.channel = 'email' and e.address_key = r.email_key) as by_email,
        (select t.user_id from contacts t where t.channel = 'telegram' and t.address_key = r.chat_key) as by_chat
    from unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::text[]) as r(n, id, external_id, email_key, chat_key)
)

-- name: match_people
-- Whom each row means, by id, external id and email, with the person's present values: what is merged from them in Python
-- cannot be overtaken before it is written, as long as the person is locked. One statement for one row or for thousands.
with {use hit}, held as materialized (
    select * from users where id = any(array(select distinct coalesce(by_id, by_external_id, by_email) from hit))
)
select hit.n, hit.by_id, hit.by_external_id, hit.by_email, hit.by_chat, held.id, held.external_id, held.first_name,
    held.timezone, held.locale, held.attributes, held.preferred_channel, held.preferred_time,
    (select e.address from contacts e where e.user_id = held.id and e.channel = 'email') as email,
    (select t.address from contacts t where t.user_id = held.id and t.channel = 'telegram') as telegram_chat_id
from hit left join held on held.id = coalesce(hit.by_id, hit.by_external_id, hit.by_email)

-- name: save_people
-- Whole rows: the merge has been done under the lock of match_people. Sorted, so that two writers never deadlock.
insert into users as u
    (id, external_id, first_name, timezone, locale, attributes, preferred_channel, preferred_time, created_at, updated_at)
select r.id, r.external_id, r.first_name, r.timezone, r.locale, r.attributes, r.preferred_channel, r.preferred_time, $9, $9
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[], $8::text[])
    as r(id, external_id, first_name, timezone, locale, attributes, preferred_channel, preferred_time)
order by r.id
on conflict (id) do update set external_id = excluded.external_id, first_name = excluded.first_name,
    timezone = excluded.timezone, locale = excluded.locale, attributes = excluded.attributes,
    preferred_channel = excluded.preferred_channel, preferred_time = excluded.preferred_time,
    updated_at = excluded.updated_at

-- name: save_contacts
-- A new address starts reachable unless it is suppressed, the same one in another spelling stays what it was; a removed one
-- keeps its row, because consent belongs to the person, not the address.
insert into contacts as c (user_id, channel, address, address_key, state, reason, changed_at)
select r.user_id, r.channel, r.address, r.address_key, case when r.address is null then 'blocked' else coalesce(s.state, 'ok') end,
    case when r.address is null then 'address removed' else s.why end, $5
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as r(user_id, channel, address, address_key)
left join lateral (
    select case e.reason when 'manual' then 'suppressed' else e.reason end as state,
        case e.reason when 'manual' then 'closed by hand' else 'reported by the provider' end as why
    from {publish}.email_suppressions e where r.channel = 'email' and e.address_key = r.address_key limit 1
) s on true
order by r.user_id, r.channel
on conflict (user_id, channel) do update set address = excluded.address, address_key = excluded.address_key,
    state = case when c.address_key = excluded.address_key then c.state else excluded.state end,
    reason = case when c.address_key = excluded.address_key then c.reason
        when c.consent = 'refused' then coalesce(excluded.reason, 'unsubscribed') else excluded.reason end,
    changed_at = excluded.changed_at

-- name: resolve_people
-- References to ids in one statement; a UUID that is nobody's id may still be somebody's external id.
select r.ref, coalesce((select i.id from users i where i.id = r.id), (select x.id from users x where x.external_id = r.ref)) as id
from unnest($1::text[], $2::uuid[]) with ordinality as r(ref, id, n)
order by r.n

-- name: show_person
-- One person with every contact.
select u.id, u.external_id, u.first_name, u.timezone, u.locale, u.attributes, u.preferred_channel, u.preferred_time,
    u.created_at, u.updated_at, coalesce((select jsonb_agg(jsonb_build_object('channel', c.channel, 'address', c.address,
        'state', c.state, 'reason', c.reason, 'consent', c.consent, 'changed_at', c.changed_at) order by c.channel)
        from contacts c where c.user_id = u.id), '[]') as contacts
from users u where u.id = $1

-- name: list_people
-- Newest first, by keyset: page 1,000 costs what page 1 does.
select u.id, u.external_id, u.first_name, u.timezone, u.locale, u.attributes, u.preferred_channel, u.preferred_time,
    u.created_at, u.updated_at, coalesce((select jsonb_agg(jsonb_build_object('channel', c.channel, 'address', c.address,
        'state', c.state, 'reason', c.reason, 'consent', c.consent, 'changed_at', c.changed_at) order by c.channel)
        from contacts c where c.user_id = u.id), '[]') as contacts
from users u where (u.created_at, u.id) < ($1, $2) order by u.created_at desc, u.id desc limit $3

-- name: search_people
-- Beginnings of an external id, an address or a name; each arm has its own index.
select u.id, u.external_id, u.first_name, u.timezone, u.locale, u.attributes, u.preferred_channel, u.preferred_time,
    u.created_at, u.updated_at, coalesce((select jsonb_agg(jsonb_build_object('channel', c.channel, 'address', c.address,
        'state', c.state, 'reason', c.reason, 'consent', c.consent, 'changed_at', c.changed_at) order by c.channel)
        from contacts c where c.user_id = u.id), '[]') as contacts
from users u
where u.id in (
    select id from users where external_id like $4
    union select user_id from contacts where address_key like lower($4)
    union select id from users where lower(first_name) like lower($4)
) and (u.created_at, u.id) < ($1, $2) order by u.created_at desc, u.id desc limit $3

-- name: call_people
-- What pages call people by.
select id, coalesce(first_name, external_id) as called from users where id = any($1::uuid[])

-- name: count_people
-- The number that a live bulk trigger has to confirm.
select count(*) from users

-- ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: reserve_key
-- The first with a key writes it; a second waits here until the first's transaction ends, then gets no row.
insert into idempotency_keys as k (scope, key, body_hash, expires_at) values ($1, $2, $3, now() + $4::interval)
on conflict (scope, key) do update set body_hash = excluded.body_hash, status = null, body = null, location = null,
    command_id = null, created_at = now(), expires_at = excluded.expires_at
where k.expires_at < now()
returning true

-- name: find_key
-- What an earlier request under this key was and got.
select body_hash, status, body, location, command_id from idempotency_keys where scope = $1 and key = $2

-- name: answer_key
-- Stored in the transaction of the effect, so that a repeat can never do it again.
update idempotency_keys set status = $3, body = $4, location = $5 where scope = $1 and key = $2

-- name: bind_key
-- A command answers for its key; the answer is read from the command.
update idempotency_keys set command_id = $3 where scope = $1 and key = $2

-- name: add_command
-- A command is a row before it is a message; one refused on the spot is born settled.
insert into commands (id, kind, request, refused_early, state, status, result, settled_at, source, people, trace_id, expires_at)
values ($1, $2, $3, $4, case when $5::int is null then 'accepted' else 'settled' end, $5, $6,
    case when $5::int is not null then now() end, $7, $8, $9, now() + $10::interval)

-- name: settle_command
-- Guarded: the first settlement stands, a repeated one changes nothing. Returns what is told of a trigger; of a type that
-- nobody has published, not its name.
update commands c set state = 'settled', status = $2, result = $3, settled_at = now() where id = $1 and state = 'accepted'
returning kind, source, people, trace_id, (request ->> 'single')::boolean as single,
    case when c.source = 'canary' or exists(select from {publish}.sequences s where s.type = c.request ->> 'sequence_type')
        then c.request ->> 'sequence_type' end as sequence_type

-- name: find_command
-- For the waiting caller and for the status page.
select id, kind, request, state, status, result, refused_early, created_at, settled_at, expires_at,
    state = 'accepted' and expires_at < now() as expired, trace_id
from commands where id = $1

-- name: list_commands
-- Newest first, together with what was asked for in SQL, which is no command and has its row with the controller. The canary's
-- are shown when they are asked for: there is one every few minutes. A resume is stored as a pause that says no, a
-- check of a sequence as publishing it without doing so.
select * from (
    (select c.id, k.kind, c.request ->> 'sequence_type' as sequence_type, c.source, c.people,
        case when c.state = 'accepted' and c.expires_at < now() then 'expired' else c.state end as state, c.status,
        (c.request ->> 'single')::boolean as single, (c.result ->> 'started')::int as started, c.result ->> 'code' as reason,
        c.created_at, c.settled_at, c.trace_id
    from commands c
    cross join lateral (
        select case
            when c.kind = 'pause' and c.request ->> 'paused' = 'false' then 'resume'
            when c.kind = 'publish' and c.request ->> 'dry_run' = 'true' then 'lint'
            else c.kind
        end as kind
    ) k
    where c.id < $1 and ($3::text is null or k.kind = $3) and ($4::text is null or c.request ->> 'sequence_type' = $4)
        and case when $5::text is null then c.source <> 'canary' else c.source = $5 end
    order by c.id desc limit $2)
    union all
    (select m.id, 'message', m.sequence_type, 'sql', 1, m.state, null, true, null, null, m.requested_at, null, null
    from {publish}.message_requests m
    where m.id < $1 and coalesce($3, 'message') = 'message' and ($4::text is null or m.sequence_type = $4)
        and coalesce($5, 'sql') = 'sql'
    order by m.id desc limit $2)
) every order by id desc limit $2

-- name: command_progress
-- How far a start for many people has come, before it is settled.
select started, running, refused_by_reason, refused from {publish}.start_jobs where command_id = $1

-- name: forget_keys
-- Seven days are promised; the rest is swept in small bites.
delete from idempotency_keys where ctid = any(array(select ctid from idempotency_keys where expires_at < now() limit 1000))

-- name: forget_canary
-- Its commands, once no stream can bring their answers again.
delete from commands where id = any(array(
    select id from commands where source = 'canary' and created_at < now() - interval '35 days' order by created_at limit 1000))

-- name: forget_verifications
-- Links that nobody followed and that no page says anything about any more.
delete from verifications where verified_at is null and expires_at < $1::timestamptz - interval '35 days'

-- name: forget_pages
-- Kept longer than any stream keeps its messages, so that a wiped bus can be refilled.
delete from inbound_pages where ctid = any(array(select ctid from inbound_pages where received_at < now() - interval '35 days' limit 200))

-- ── what comes in from providers and readers ────────────────────────────────────────────────────────────────────────

-- name: keep_page
-- Everything of one moment in one row, beside the outbox row that carries it on. Returns the traces of the deliveries ($4)
-- that it is about, so that what comes back is found under the trace of what went out.
with kept as (insert into inbound_pages (id, kind, items) values ($1, $2, $3))
select distinct traceparent from {publish}.delivery_traces where delivery_id = any($4::uuid[]) and traceparent is not null

-- name: refuse_email
-- The person behind a mail takes back consent; committed before the reader gets the answer.
insert into contacts as c (user_id, channel, state, reason, consent, consent_at, changed_at)
select u.id, 'email', 'blocked', 'no address', 'refused', $2, $2
from (
    select user_id from {publish}.outbound_messages where delivery_id = $1
    union all select user_id from test_messages where id = $1 and purpose = 'verification'
) m join users u on u.id = m.user_id
on conflict (user_id, channel) do update set consent = 'refused',
    consent_at = case when c.consent = 'refused' then c.consent_at else $2 end,
    reason = coalesce(c.reason, 'unsubscribed'), changed_at = case when c.consent = 'refused' then c.changed_at else $2 end
returning user_id

-- name: show_preferences
-- What is wanted on each channel, and whether the address has been shown to be the person's.
select c.channel, c.address, c.state, c.reason, c.consent, c.consent_at, c.opt_in_sequences, c.opt_in_announcements,
    case c.channel when 'telegram' then (
        select t.linked_at from {publish}.telegram_chats t where t.user_id = c.user_id and t.chat_id = c.address
    ) else v.verified_at end as verified_at, v.sent_at as verification_sent_at
from contacts c cross join lateral (
    select min(p.verified_at) as verified_at, max(p.sent_at) as sent_at
    from verifications p where c.channel = 'email' and p.user_id = c.user_id and p.address_key = c.address_key
) v
where c.user_id = $1

-- name: change_preferences
-- $3 and $4: sequences and announcements, $5: the person's word; null leaves it. A channel without an address keeps them for
-- the day on which there is one. A word that changes consent is later than the one that it takes back, whichever clock gave
-- that its time; one that changes nothing takes nothing back, neither a /stop that has not come here yet.
insert into contacts as c
    (user_id, channel, state, reason, opt_in_sequences, opt_in_announcements, consent, consent_at, changed_at)
values ($1, $2, 'blocked', 'no address', coalesce($3::boolean, true), coalesce($4::boolean, true), coalesce($5::text, 'granted'),
    case when $5 is not null then $6::timestamptz end, $6)
on conflict (user_id, channel) do update set opt_in_sequences = coalesce($3, c.opt_in_sequences),
    opt_in_announcements = coalesce($4, c.opt_in_announcements), consent = coalesce($5, c.consent),
    consent_at = case when $5 <> c.consent then greatest($6, c.consent_at + interval '1 microsecond') else c.consent_at end,
    reason = case when $5 = 'refused' then coalesce(c.reason, 'unsubscribed')
        when $5 = 'granted' and c.reason in ('unsubscribed', 'stopped') then null else c.reason end,
    changed_at = $6
returning consent

-- name: verification_wanted
-- The mailbox, and what is known of it already; locked, so that two requests send one mail.
select c.address, c.address_key, c.state, c.consent, u.first_name,
    (select min(v.verified_at) from verifications v where v.user_id = c.user_id and v.address_key = c.address_key) as verified_at,
    (select max(v.sent_at) from verifications v where v.user_id = c.user_id and v.address_key = c.address_key) as sent_at
from contacts c join users u on u.id = c.user_id where c.user_id = $1 and c.channel = 'email' for update of c

-- name: add_verification
-- Of the token only its hash.
insert into verifications (token_hash, user_id, address_key, sent_at, expires_at) values ($1, $2, $3, $4, $5)

-- name: verification_state
-- What the page says to whoever follows the link.
select case when verified_at is not null then 'done' when expires_at > $2 then 'ask' else 'expired' end
from verifications where token_hash = $1

-- name: verify_address
-- The first time stands.
update verifications set verified_at = $2 where token_hash = $1 and verified_at is null and expires_at > $2

-- name: delivery_person
-- Whose page a link opens: of whoever got the message.
select user_id from {publish}.outbound_messages where delivery_id = $1

-- name: mail_known
-- What a mail of ours was; null for none.
select coalesce((select purpose from test_messages where id = $1),
    (select 'delivery' from {publish}.outbound_messages where delivery_id = $1))

-- name: suppress_contacts
-- A report binds the address that it is about, whoever has it now, so a person's newer address stays reachable. The worst
-- report stands, whatever the order they came in; one that is older than an operator's lift says nothing.
update contacts c set state = s.reason, reason = 'reported by the provider', changed_at = s.at
from (
    select distinct on (r.channel, lower(m.address)) r.channel, lower(m.address) as address_key, r.reason, r.at
    from unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[]) as r(channel, delivery_id, reason, at)
    cross join lateral (
        select o.address from {publish}.outbound_messages o where o.delivery_id = r.delivery_id
        union all select t.address from test_messages t where t.id = r.delivery_id
    ) m
    order by r.channel, lower(m.address), array_position(array['bounced', 'suppressed', 'complained'], r.reason) desc
) s
where c.channel = s.channel and c.address_key = s.address_key
    and not exists (
        select from suppressions_by_hand h where h.address_key = s.address_key and h.verdict = 'lifted' and h.at >= s.at)
    and coalesce(array_position(array['ok', 'blocked', 'bounced', 'suppressed', 'complained'], c.state), 0)
        < array_position(array['ok', 'blocked', 'bounced', 'suppressed', 'complained'], s.reason)

-- name: link_url
-- Where a tracked link in a mail leads.
select url from {publish}.email_links where id = $1

-- name: telegram_link_url
-- Where a tracked link in a Telegram message leads.
select url from {publish}.telegram_links where id = $1

-- ── chats ───────────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: telegram_bot
-- Whose link a person is given.
select ready, bot_username, problem from {publish}.telegram_channel

-- name: chats_release
-- A chat is its last owner's: an earlier one is without. Who got it by hand after it was linked keeps it.
update contacts c set address = null, address_key = null, state = 'blocked', reason = 'chat linked to another person',
    changed_at = $2
from {publish}.telegram_chats t
where t.user_id = any($1::uuid[]) and t.linked_at is not null and c.channel = 'telegram' and c.address_key = t.chat_id
    and c.user_id <> t.user_id and coalesce(c.addressed_at, c.changed_at) <= t.linked_at

-- name: chats_link
-- The chat that a person linked last becomes the address; a word that comes late, or again, does not bring it back.
insert into contacts as c (user_id, channel, address, address_key, linked_at, changed_at)
select r.user_id, 'telegram', t.chat_id, t.chat_id, r.at, r.at
from (
    select l.user_id, max(l.at) as at from unnest($1::uuid[], $2::timestamptz[]) as l(user_id, at)
    join users u on u.id = l.user_id group by l.user_id
) r cross join lateral (
    select chat_id from {publish}.telegram_chats t
    where t.user_id = r.user_id and t.linked_at is not null order by t.linked_at desc limit 1
) t
where not exists (
    select from contacts o where o.channel = 'telegram' and o.address_key = t.chat_id and o.user_id <> r.user_id)
order by r.user_id
on conflict (user_id, channel) do update set address = excluded.address, address_key = excluded.address_key,
    state = 'ok', reason = null, linked_at = excluded.linked_at, changed_at = excluded.changed_at
where coalesce(c.linked_at, '-infinity') < excluded.linked_at

-- name: chats_consent
-- The last word stands, whatever the order they come in.
update contacts c set consent = r.consent, consent_at = r.at, changed_at = greatest(c.changed_at, r.at),
    reason = case when r.consent = 'refused' then coalesce(c.reason, 'stopped') when c.reason = 'stopped' then null else c.reason end
from (
    select distinct on (user_id) user_id, consent, at
    from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as w(user_id, consent, at) order by user_id, at desc
) r
where c.user_id = r.user_id and c.channel = 'telegram' and coalesce(c.consent_at, '-infinity') < r.at

-- name: chats_state
-- The telegram room knows how a chat is now, so the order of its words does not matter; another address is not meant.
update contacts c set state = case t.state when 'ok' then 'ok' else 'blocked' end, changed_at = $2,
    reason = case t.state when 'ok' then null when 'gone' then 'gone' else 'blocked by the person' end
from {publish}.telegram_chats t
where c.user_id = any($1::uuid[]) and c.channel = 'telegram' and t.user_id = c.user_id and t.chat_id = c.address
    and c.state = case t.state when 'ok' then 'blocked' else 'ok' end

-- ── test mails ──────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: add_test_message
-- A test mail needs no person.
insert into test_messages (id, address, user_name, template, requested_at, purpose, user_id) values ($1, $2, $3, $4, $5, $6, $7)

-- name: show_test_message
-- Its facts so far.
select id, address, user_name, template, requested_at, sent_at, delivered_at, opened_at, clicked_at, bounced_at,
    failed_at, failure_reason
from test_messages where id = $1

-- name: progress_test_messages
-- Facts by minimum: any order, any number of times.
update test_messages t set sent_at = least(t.sent_at, f.sent), delivered_at = least(t.delivered_at, f.delivered),
    opened_at = least(t.opened_at, f.opened), clicked_at = least(t.clicked_at, f.clicked),
    bounced_at = least(t.bounced_at, f.bounced), failed_at = least(t.failed_at, f.failed),
    failure_reason = coalesce(t.failure_reason, f.reason)
from (
    select delivery_id, min(at) filter (where kind = 'sent') as sent, min(at) filter (where kind = 'delivered') as delivered,
        min(at) filter (where kind = 'opened') as opened, min(at) filter (where kind = 'clicked') as clicked,
        min(at) filter (where kind = 'bounced') as bounced,
        min(at) filter (where kind in ('failed', 'suppressed', 'complained')) as failed,
        min(coalesce(reason, kind)) filter (where kind in ('failed', 'suppressed', 'complained', 'bounced')) as reason
    from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[]) as r(delivery_id, kind, at, reason) group by delivery_id
) f where t.id = f.delivery_id

-- ── what other rooms publish ────────────────────────────────────────────────────────────────────────────────────────

-- name: list_active
-- Running enrolments, newest first; the channel is the one that was asked for, or that the last message took.
select e.id as enrolment_id, e.user_id, u.external_id, u.first_name, e.sequence_type, e.sequence_version as version, e.step,
    coalesce(e.channel, d.channel) as channel, e.next_at, e.started_at
from {publish}.enrolments e
left join users u on u.id = e.user_id
left join {publish}.deliveries d on d.id = e.last_delivery_id
where e.state = 'active' and e.id < $1
    and ($3::text is null or e.sequence_type = $3) and ($4::uuid is null or e.user_id = $4)
order by e.id desc limit $2

-- name: list_sequences
-- The latest version of each type.
select distinct on (type) type, version, published_at, definition from {publish}.sequences order by type, version desc

-- name: show_sequence
-- One version, or the latest.
select type, version, published_at, definition, toml from {publish}.sequences
where type = $1 and ($2::int is null or version = $2) order by version desc limit 1

-- name: list_deliveries
-- Newest first; every filter may be absent.
select d.id, d.user_id, d.enrolment_id, d.sequence_type, d.message_step, d.channel, d.delivery_status, d.status_detail,
    d.recipient_address, d.subject, d.scheduled_at, d.sent_at, d.delivered_at, d.opened_at, d.clicked_at, d.failed_at,
    d.failure_reason, d.attempt_count, d.round, d.possible_duplicate, d.created_at
from {publish}.deliveries d
where d.id < $1 and ($3::uuid is null or d.user_id = $3) and ($4::text is null or d.status_detail = $4)
    and ($5::text is null or d.sequence_type = $5) and ($6::text is null or d.channel = $6)
    and ($7::timestamptz is null or d.created_at >= $7) and ($8::boolean is null or d.possible_duplicate = $8)
order by d.id desc limit $2

-- name: show_delivery
-- One delivery.
select to_jsonb(d) as delivery from {publish}.deliveries d where d.id = $1

-- name: delivery_events
-- Its timeline.
select to_jsonb(e) as event from {publish}.delivery_events e where e.delivery_id = $1 order by e.at, e.event_id

-- name: delivery_decision
-- Every input that led to it.
select to_jsonb(d) as decision from {publish}.delivery_decisions d where d.delivery_id = $1

-- name: count_deliveries
-- One grouped query for the whole summary.
select status, sum(deliveries)::bigint as deliveries from {publish}.delivery_counts group by status

-- name: count_doubts
-- Deliveries of which nobody knows whether they arrived, and those that may have arrived twice.
select coalesce(sum(deliveries) filter (where status = 'unknown'), 0)::bigint as unknown,
    coalesce(sum(possible_duplicates), 0)::bigint as possible_duplicates
from {publish}.delivery_counts

-- name: list_dead_letters
-- What no handler could take, newest first.
select id, room, durable, subject, convert_from(payload, 'latin1') as payload, reason, at, replayed_at
from {publish}.dead_letters
where (at, id) < ($1, $2) and ($4::text is null or room = $4)
order by at desc, id desc limit $3

-- name: dead_letter_room
-- Whose letter is it?
select room from {publish}.dead_letters where id = $1

-- name: why_person
-- What planning would read of this person now.
select id, external_id, first_name, timezone, locale, preferred_channel, preferred_time from {publish}.people where id = $1

-- name: why_contacts
-- How they may be reached.
select channel, state, reason, case when unsubscribed then 'refused' else 'granted' end as consent,
    consent = 'granted' as opt_in_sequences, announcement_consent = 'granted' as opt_in_announcements, changed_at
from {publish}.contacts where user_id = $1 order by channel

-- name: why_scores
-- What their answers say.
select score_type, score from {publish}.engagement_details where user_id = $1

-- name: why_enrolments
-- Where they stand.
select id, sequence_type, sequence_version, step, next_at, state, paused, started_at, ended_at, ended_reason
from {publish}.enrolments where user_id = $1 and ($2::text is null or sequence_type = $2) order by id desc limit 100

-- name: why_refusals
-- Starts that were asked for and refused, of this person alone ($2: what they may have been called by) or among others.
select r.* from (
    select id as command_id, created_at as at, request ->> 'sequence_type' as sequence_type, result ->> 'code' as code,
        result ->> 'detail' as detail
    from commands where kind = 'trigger' and status >= 400 and request ->> 'user_id' = any($2::text[])
    union all
    select c.id, c.created_at, c.request ->> 'sequence_type', one ->> 'reason', null
    from commands c cross join lateral jsonb_array_elements(c.result -> 'refused') as one
    where c.kind = 'trigger' and c.result ? 'refused'
        and c.result -> 'refused' @> jsonb_build_array(jsonb_build_object('user', $1::text)) and one ->> 'user' = $1::text
) r where $3::text is null or r.sequence_type = $3
order by r.command_id desc limit $4

-- name: why_deliveries
-- Each decision with its verdict after a failure, newest first.
select d.id, d.sequence_type, d.message_step, d.channel, d.status_detail, d.failure_reason, d.variant, d.tier, d.scheduled_at,
       w.decision, w.fallback
from {publish}.deliveries d join {publish}.delivery_decisions w on w.delivery_id = d.id
where d.user_id = $1 and ($2::text is null or d.sequence_type = $2) order by d.id desc limit $3

-- name: list_holds
-- What is held now; `*` first.
select sequence_type, reason, at, detail from {publish}.holds order by sequence_type <> '*', sequence_type, reason

-- name: known_events
-- Which of these have been recorded; one that is still under way is recognised by the scoring room.
select event_id from {publish}.engagement_events where event_id = any($1::uuid[])

-- name: person_scores
-- Scores by the clock of $2; the views show them as of the last event.
select k.kind as score_type,
    case when s.blocked then 0 else {publish}.engagement_score_at(s.r, s.n, m.r, m.n, $2) end as score,
    coalesce(e.factors, jsonb_build_object('blocked', false, 'last', '[]'::jsonb)
        || case when k.kind in ('attendance', 'commitment') then '{"events": 0}' else '{"messages": 0}'::jsonb end)
    || jsonb_build_object(
        'r', round((coalesce(s.r, 0) / {publish}.engagement_weight_at($2))::numeric, 4),
        'n', round((coalesce(s.n, 0) / {publish}.engagement_weight_at($2))::numeric, 4),
        'mean', round({publish}.engagement_mean_at(m.r, m.n, $2)::numeric, 4)) as factors
from unnest(array['overall', 'email', 'telegram', 'attendance', 'commitment']) with ordinality as k(kind, place)
join {publish}.engagement_means m on m.kind = k.kind
left join {publish}.engagement_states s on s.user_id = $1 and s.kind = k.kind
left join {publish}.engagement_details e on e.user_id = $1 and e.score_type = k.kind
order by k.place

-- ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: analytics
-- Messages planned on the days $1 to $2, by everything that one asks them by, in one reading of what the controller counts.
select grouping(sequence_type, step, variant, channel, day) as place, sequence_type, step, variant, channel, day,
    sum(planned)::bigint as planned, sum(sent)::bigint as sent, sum(delivered)::bigint as delivered,
    sum(sent - bounced) filter (where channel = 'email')::bigint as openable,
    sum(opened)::bigint as opened, sum(clicked)::bigint as clicked, sum(bounced)::bigint as bounced,
    sum(complained)::bigint as complained, sum(failed)::bigint as failed, sum(suppressed)::bigint as suppressed,
    sum(cancelled)::bigint as cancelled, sum(expired)::bigint as expired, sum(unknown)::bigint as unknown,
    sum(fallbacks)::bigint as fallbacks, sum(fallback_saves)::bigint as fallback_saves
from {publish}.delivery_analytics
where day >= $1 and day <= $2 and ($3::text is null or channel = $3)
group by grouping sets ((), (sequence_type), (sequence_type, step), (sequence_type, step, variant), (channel), (day))
order by place, sequence_type, step, variant, channel, day

-- name: steps_with_variants
-- Of every version of a type, or of all, newest first; one row without a step for a version that has none. `words` are the same
-- where steps are called the same, say the same, and have the same variants with the same weights.
select s.type, s.version, t.number::int as step, t.step ->> 'name' as name, t.step -> 'variants' as variants,
    md5(jsonb_build_array(t.step -> 'name', t.step -> 'subject', t.step -> 'body', t.step -> 'variants')::text) as words
from {publish}.sequences s
left join lateral jsonb_array_elements(s.definition -> 'steps') with ordinality as t (step, number)
    on t.step -> 'variants' <> '[]'
where $1::text is null or s.type = $1 order by s.type, s.version desc, t.number

-- name: variant_counts
-- How each variant of step $2 does, in the versions $3 or in all. A person counts once, however often the step was sent to
-- them: once more, on the other channel, in another enrolment.
with people as (
    select d.variant, d.user_id,
        bool_or(coalesce(d.delivered_at, d.opened_at, d.clicked_at) is not null) as delivered,
        bool_or(a.delivery_id is not null) as converted,
        bool_or(d.complained_at is not null) as complained,
        bool_or(u.delivery_id is not null) as unsubscribed
    from {publish}.variant_deliveries d
    left join {publish}.answered_messages a on a.delivery_id = d.id
    left join (select distinct delivery_id from {publish}.delivery_events where kind = 'unsubscribed') u
        on u.delivery_id = d.id
    where d.sequence_type = $1 and d.step = $2::smallint
        and ($3::int[] is null or (select e.sequence_version from {publish}.enrolments e where e.id = d.enrolment_id) = any($3))
    group by 1, 2
)
select variant, count(*) as people, count(*) filter (where delivered) as delivered,
    count(*) filter (where converted) as conversions, count(*) filter (where complained) as complaints,
    count(*) filter (where unsubscribed) as unsubscribes, count(*) filter (where complained or unsubscribed) as leavers
from people group by 1

-- name: score_days
-- How scores were spread on the days $1 to $2.
select day, score_type, people, mean::float8, p10::float8, median::float8, p90::float8, buckets
from {publish}.score_days where day >= $1 and day <= $2 order by day, score_type

-- name: list_queues
-- What each channel has before it, and whether it is parked.
select q.channel, q.pending, q.oldest_at, q.failed, q.unknown, coalesce(e.parked_until, t.parked_until) as parked_until,
    coalesce(e.park_reason, t.park_reason) as park_reason
from {publish}.delivery_queue q
left join {publish}.email_channel e on q.channel = 'email'
left join {publish}.telegram_channel t on q.channel = 'telegram'
order by q.channel

-- name: count_suppressions
-- Addresses that get no mail.
select reason, count(*) as addresses from {publish}.email_suppressions group by reason order by 2 desc, 1

-- name: list_suppressions
-- Newest first, by keyset; a place is named by a hash, since an address is no uuid. $4: how the address begins, $5: the reason.
select s.address_key as address, s.reason, s.at, s.delivery_id, s.note, c.user_id, md5(s.address_key)::uuid as place
from {publish}.email_suppressions s left join contacts c on c.channel = 'email' and c.address_key = s.address_key
where (s.at, md5(s.address_key)::uuid) < ($1, $2) and ($4::text is null or starts_with(s.address_key, lower($4)))
    and ($5::text is null or s.reason = $5)
order by s.at desc, place desc limit $3

-- name: show_suppression
-- One address, in lower case.
select s.address_key as address, s.reason, s.at, s.delivery_id, s.note, c.user_id
from {publish}.email_suppressions s left join contacts c on c.channel = 'email' and c.address_key = s.address_key
where s.address_key = $1

-- name: close_address
-- By hand; whoever has it cannot be reached there. Real time, as providers' reports are.
with closed as (
    update contacts set state = 'suppressed', reason = 'closed by hand', changed_at = $3
    where channel = 'email' and address_key = $1 and state = 'ok'
)
insert into suppressions_by_hand as h (address_key, verdict, note, at) values ($1, 'closed', $2, now())
on conflict (address_key) do update set verdict = 'closed', note = excluded.note, at = excluded.at

-- name: lift_suppression
-- Whatever was known of the address until now is over. Consent is the person's, and stays.
with lifted as (
    update contacts set state = 'ok', reason = case when consent = 'refused' then 'unsubscribed' end, changed_at = $3
    where channel = 'email' and address_key = $1 and state in ('bounced', 'complained', 'suppressed')
)
insert into suppressions_by_hand as h (address_key, verdict, at) values ($1, 'lifted', greatest(now(), $2::timestamptz))
on conflict (address_key) do update set verdict = 'lifted', note = '', at = greatest(h.at, excluded.at)

-- name: metrics
-- People by what reaches them, what no handler could take, and when a provider last spoke.
select p.*, (select count(*) from {publish}.dead_letters where replayed_at is null) as dead_letters,
    (select max(received_at) from inbound_pages where kind = 'webhooks') as last_webhook_at
from (
    select count(*) as total, count(*) filter (where email) as by_email, count(*) filter (where telegram) as by_telegram,
        count(*) filter (where not email and not telegram) as unreachable
    from (
        select u.id, coalesce(bool_or(c.channel = 'email'), false) as email,
            coalesce(bool_or(c.channel = 'telegram'), false) as telegram
        from users u left join {publish}.contacts c
            on c.user_id = u.id and c.address is not null and c.state = 'ok' and 'granted' in (c.consent, c.announcement_consent)
        group by u.id
    ) each
) p

-- name: count_active
-- Running enrolments by sequence.
select sequence_type, count(*) as enrolments, count(*) filter (where paused) as paused
from {publish}.enrolments where state = 'active' group by sequence_type order by 2 desc, 1

-- name: count_recent
-- What became of messages planned since $1, and why some failed.
select status, case when status in ('failed', 'bounced', 'unknown') then failure_reason end as reason, count(*) as deliveries
from {publish}.delivery_facts where created_at >= $1 group by 1, 2

-- ── the canary ──────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: canaries_keep
-- The channels that have one are those of the settings; what is known of another address goes with it.
with meant as materialized (
    select * from unnest($1::text[], $2::uuid[], $3::text[]) as m (channel, user_id, address)
), gone as (
    delete from canaries where channel not in (select channel from meant)
)
insert into canaries as c (channel, user_id, address) select channel, user_id, address from meant
on conflict (channel) do update set user_id = excluded.user_id, address = excluded.address, since = now(), command_id = null,
    triggered_at = null, sent_at = null, arrived_at = null, outcome = null, reason = null, last_arrival_at = null,
    sent_seconds = null, arrival_seconds = null
where c.address <> excluded.address

-- name: canaries_fold
-- What became of those that were under way.
with told as (
    select c.channel, r.sent_at, r.arrived_at,
        case when r.arrived_at is not null then 'arrived'
            when m.status >= 400 then 'refused'
            when r.status in ('bounced', 'failed', 'suppressed', 'cancelled', 'expired', 'unknown') then r.status
            else 'under_way' end as outcome,
        coalesce(r.failure_reason, case when m.status >= 400 then m.result ->> 'code' end) as reason
    from canaries c
    left join commands m on m.id = c.command_id
    left join {publish}.canary_runs r on r.command_id = c.command_id
    where c.outcome = 'under_way'
)
update canaries c set outcome = t.outcome, reason = t.reason, sent_at = t.sent_at, arrived_at = t.arrived_at,
    last_arrival_at = coalesce(t.arrived_at, c.last_arrival_at),
    sent_seconds = coalesce(extract(epoch from t.sent_at - c.triggered_at), c.sent_seconds),
    arrival_seconds = coalesce(extract(epoch from t.arrived_at - c.triggered_at), c.arrival_seconds)
from told t
where t.channel = c.channel and c.outcome = 'under_way'
    and (t.outcome <> 'under_way' or t.sent_at is distinct from c.sent_at)
returning c.channel, c.outcome, c.reason

-- name: canaries_due
-- Those to start now, locked, so that one replica starts each. $1 seconds between two, $2 how long one is waited for.
select channel, user_id, command_id, outcome = 'under_way' as late from canaries
where (triggered_at is null or triggered_at <= now() - make_interval(secs => $1::float8))
    and (outcome is null or outcome <> 'under_way' or triggered_at <= now() - make_interval(secs => $2::float8))
    and not exists(select from {publish}.holds h where h.sequence_type = '*')
order by channel for update skip locked

-- name: canary_begin
-- What was known of the last arrival stays.
update canaries set command_id = $2, triggered_at = now(), sent_at = null, arrived_at = null, outcome = 'under_way', reason = null
where channel = $1

-- name: list_canaries
-- How they are, and whether one is to be started by the rule of `canaries_due`.
select c.channel, c.outcome, c.reason, c.since, c.triggered_at, c.last_arrival_at, c.sent_seconds, c.arrival_seconds, c.command_id,
    h.held, extract(epoch from now() - coalesce(c.last_arrival_at, c.since))::float8 as age,
    not h.held and (c.triggered_at is null or c.triggered_at <= now() - make_interval(secs => $1::float8))
        and (c.outcome is null or c.outcome <> 'under_way' or c.triggered_at <= now() - make_interval(secs => $2::float8)) as due
from canaries c cross join (select exists(select from {publish}.holds where sequence_type = '*') as held) h order by c.channel

-- ── the dashboard: who is signed in ─────────────────────────────────────────────────────────────────────────────────

-- name: add_session
-- A browser has shown the key, or a link made with it.
insert into sessions (token_mac, expires_at) values ($1, now() + make_interval(hours => $2))

-- name: find_session
-- Lives on while it is used, a week at most; noted once a minute, so that looking at a page rarely writes.
with seen as (
    update sessions set seen_at = now(),
        expires_at = least(created_at + interval '7 days', now() + make_interval(hours => $2))
    where token_mac = $1 and expires_at > now() and seen_at < now() - interval '1 minute'
)
select true from sessions where token_mac = $1 and expires_at > now()

-- name: end_session
-- Signed out.
delete from sessions where token_mac = $1

-- name: add_sign_in_link
-- Not used yet.
insert into sign_in_links (token_mac, expires_at) values ($1, now() + make_interval(secs => $2)) returning expires_at

-- name: use_sign_in_link
-- The first to come takes it; whoever comes second gets no row.
update sign_in_links set used_at = now() where token_mac = $1 and used_at is null and expires_at > now() returning true

-- name: forget_sessions
-- What opens nothing any more.
with links as (delete from sign_in_links where expires_at < now() - interval '1 day')
delete from sessions where expires_at < now()

-- ── the dashboard: what its pages show ──────────────────────────────────────────────────────────────────────────────

-- name: service_presence
-- Every process that was seen in the last day; one that said nothing for 15 s is away.
select room, instance, started_at, seen_at, seen_at < now() - interval '15 seconds' as silent, problems, held
from {publish}.service_presence where seen_at > now() - interval '1 day' order by room, started_at

-- name: sequence_steps
-- How many steps each version has, to tell how far somebody is.
select type, version, jsonb_array_length(definition -> 'steps') as steps from {publish}.sequences

-- name: recent_failures
-- What went wrong for one reason is one line, with its newest message. Among the newest 2,000 messages, so that a long quiet
-- time costs nothing.
select (array_agg(f.id order by f.at desc nulls last, f.id))[1] as id, count(*) as messages, max(f.at) as at,
    f.sequence_type, f.step, f.channel, f.status, f.failure_reason
from (
    select d.*,
        coalesce(d.failed_at, d.bounced_at, d.complained_at, d.suppressed_at, d.expired_at, d.unknown_at) as at
    from (select * from {publish}.delivery_facts order by created_at desc limit 2000) d
    where d.status in ('failed', 'bounced', 'complained', 'suppressed', 'unknown', 'expired')
) f
group by f.sequence_type, f.step, f.channel, f.status, f.failure_reason
order by at desc nulls last limit $1

-- name: channel_troubles
-- What keeps a channel from sending, in words.
select 'email' as channel, park_reason as problem, parked_until from {publish}.email_channel where park_reason is not null
union all
select 'telegram', coalesce(problem, park_reason), parked_until
from {publish}.telegram_channel where coalesce(problem, park_reason) is not null

-- name: list_test_messages
-- The newest test mails, without those that ask whether a mailbox is somebody's.
select id, address, user_name, template, requested_at, sent_at, delivered_at, opened_at, clicked_at, bounced_at,
    failed_at, failure_reason
from test_messages where purpose = 'test' order by requested_at desc, id desc limit $1
