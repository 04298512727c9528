-- The telegram room's questions.

-- ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: page_take
-- A page that comes again is known by its id, a delivery that comes in another page by its own. A page's deliveries are of
-- one sequence type, so the first one tells which.
with page as (
    insert into pages (id, members) values ($1, $2) on conflict do nothing returning members
)
insert into claims (delivery_id, sequence_type)
select distinct m, coalesce((select o.sequence_type from {publish}.outbound_messages o where o.delivery_id = ($2::uuid[])[1]), '')
from page, unnest(page.members) m order by m on conflict do nothing

-- name: look
-- The idle tick's only statement: how much can be claimed (up to a volley), is the channel parked (seconds), and is anything
-- held?
select (select count(*) from (select from claims where state = 'waiting' and next_at <= now() limit $2) as due) as due,
    (select extract(epoch from parked_until - clock_timestamp())::float8 from pace
     where account = $1 and parked_until > clock_timestamp()) as parked,
    {publish}.is_held(null) as held

-- name: waiting_to_send
-- For the gauges: what is not claimed yet, what is being sent, and whether the channel stands still.
select clock_timestamp() as now,
    (select count(*) from (select from claims where state = 'waiting' limit 10000) c) as waiting,
    (select next_at from claims where state = 'waiting' order by next_at limit 1) as oldest,
    (select count(*) from (select from claims where state = 'sending' limit 10000) c) as claims,
    (select count(*) from pace where account = $1 and parked_until > clock_timestamp()) as parked

-- name: look_beside
-- While something is held: how much can be claimed beside it?
with recursive {use walk}
select (select count(*) from (
    select from types t, lateral (
        select from claims where state = 'waiting' and sequence_type = t.type and next_at <= now() limit $1
    ) k limit $1) as due) as due

-- name: walk
-- The types of waiting deliveries that are not held: from type to type by index, since held ones may be many.
held as materialized (
    select sequence_type from {publish}.holds
), waiting_types(type) as (
    (select sequence_type from claims where state = 'waiting' order by sequence_type limit 1)
    union all
    select (select k.sequence_type from claims k where k.state = 'waiting' and k.sequence_type > t.type
            order by k.sequence_type limit 1)
    from waiting_types t where t.type is not null
), types as materialized (
    select type from waiting_types w
    where w.type is not null and not exists (select from held h where h.sequence_type in ('*', w.type))
)

-- name: claim_volley
-- One statement, so one snapshot: what is due, with consent checked as the rule; one message a chat, and only chats
-- whose own pace allows it (the upsert's row lock decides between replicas). Those that fell out are settled here. While
-- anything is held it takes nothing, and the other form below does.
-- $1 how many, $2 lease in seconds, $3 business time, $4 seconds between two messages to a chat, $5 account, $6 volley.
with candidates as materialized (
    select delivery_id, next_at from claims
    where state = 'waiting' and next_at <= now() and not (select {publish}.is_held(null))
        and not exists (select from pace where account = $5 and parked_until > clock_timestamp())
    order by next_at, delivery_id limit $1::int * 4 for update skip locked
), {use claim_candidates}

-- name: claim_volley_beside
-- The same while something is held: of the other types only.
with recursive {use walk}, beside as materialized (
    select k.* from types t, lateral (
        select delivery_id, next_at from claims
        where state = 'waiting' and sequence_type = t.type and next_at <= now()
            and not exists (select from pace where account = $5 and parked_until > clock_timestamp())
        order by next_at, delivery_id limit $1::int * 4 for update skip locked
    ) k
), candidates as materialized (
    select * from beside order by next_at, delivery_id limit $1::int * 4
), {use claim_candidates}

-- name: claim_candidates
-- What both forms have in common.
checked as materialized (
    select k.delivery_id, k.next_at, o.user_id, coalesce(h.moved_to, o.address) as chat_id, o.body, o.params, o.traceparent,
        case
            when o.delivery_id is null then 'rejected/missing'
            when not o.enrolment_active then 'suppressed/cancelled'
            -- What the person agreed to after their /stop takes it back; until the gateway has heard of one, it stands.
            when exists (
                select from refusals r where r.chat_id in (o.address, h.moved_to)
                    and (c.consent_at > r.at and coalesce(r.user_id, h.user_id) = o.user_id) is not true
            ) then 'suppressed/refused'
            when c.user_id is null then 'suppressed/no_contact'
            when case o.kind when 'announcement' then c.announcement_consent else c.consent end <> 'granted' then 'suppressed/refused'
            when coalesce(n.moved_to, c.address) <> coalesce(h.moved_to, o.address) then 'suppressed/chat_changed'
            when c.state <> 'ok' then 'suppressed/' || c.state
            when h.state = 'replaced' and h.moved_to is null then 'suppressed/chat_changed'
            when h.user_id <> o.user_id and h.linked_at >= c.addressed_at then 'suppressed/chat_changed'
            when h.state in ('blocked', 'gone') then 'suppressed/' || h.state
            when m.state in ('blocked', 'gone') then 'suppressed/' || m.state
            when o.expires_at < $3::timestamptz then 'expired/too_late'
        end as fell
    from candidates k
    left join {publish}.outbound_messages o on o.delivery_id = k.delivery_id
    left join {publish}.contacts c on c.user_id = o.user_id and c.channel = 'telegram'
    left join chats h on h.chat_id = o.address
    left join chats m on m.chat_id = h.moved_to
    left join chats n on n.chat_id = c.address
), chosen as materialized (
    select * from (
        select distinct on (chat_id) delivery_id, chat_id, next_at from checked
        where fell is null order by chat_id, next_at, delivery_id
    ) as firsts order by next_at, delivery_id limit $1
), paced as (
    insert into chat_pace as p (chat_id, next_at)
    select chat_id, now() + make_interval(secs => $4) from chosen order by chat_id
    on conflict (chat_id) do update set next_at = excluded.next_at where p.next_at <= now()
    returning chat_id
), taken as (
    update claims c
    set state = 'sending', attempt = c.attempt + 1, lease_until = now() + make_interval(secs => $2), claimed_at = now(),
        user_id = k.user_id, chat_id = k.chat_id, volley = $6, retries = coalesce(k.params ->> 'on_ambiguous' = 'retry', false)
    from chosen join paced using (chat_id) join checked k using (delivery_id)
    where c.delivery_id = chosen.delivery_id
    returning c.delivery_id, c.attempt, c.plain, c.moved, c.retries, c.doubts, c.user_id, c.chat_id
), fallen as (
    -- Whoever may have it already cannot fall out any more; it is only not sent again.
    update claims c set state = 'settled', outcome = case when c.doubts = 0 then split_part(k.fell, '/', 1) else 'unknown' end,
        reason = case c.doubts when 0 then split_part(k.fell, '/', 2) when 1 then 'withheld_after_attempt'
            else 'possible_duplicate' end,
        settled_at = now()
    from checked k where c.delivery_id = k.delivery_id and k.fell is not null
    returning c.delivery_id, c.attempt, c.doubts, c.outcome, c.reason
), later as (
    -- Another message of the same chat is on its way; without this the tick would look at these again and again.
    update claims c set next_at = now() + make_interval(secs => $4)
    from checked k
    where c.delivery_id = k.delivery_id and k.fell is null and k.chat_id in (select chat_id from chosen)
        and k.delivery_id not in (select chosen.delivery_id from chosen join paced using (chat_id))
)
select t.delivery_id, t.attempt, t.plain, t.moved, t.retries, t.doubts, t.user_id, t.chat_id, k.body, k.params,
    null as outcome, null as reason, k.traceparent
from taken t join checked k using (delivery_id)
union all
select f.delivery_id, f.attempt, false, false, false, f.doubts, null, null, null, null, f.outcome, f.reason, k.traceparent
from fallen f join checked k using (delivery_id)
order by delivery_id

-- name: settle
-- Only who claimed it last may write an end. A late answer counts if it proves that the message arrived after all, also when
-- it is tried again meanwhile. Says which of them came more than once, perhaps ($6: this attempt may have arrived).
with held as (
    select c.delivery_id, r.outcome, r.reason, r.provider_id, c.state = 'sending' and c.attempt = r.attempt as ours,
        c.doubts + case when c.state = 'sending' and c.attempt = r.attempt then r.arrived else c.state = 'sending' end::int as doubts
    from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::boolean[])
        as r(id, attempt, outcome, reason, provider_id, arrived)
    join claims c on c.delivery_id = r.id
    where (c.state = 'sending' and c.attempt = r.attempt)
        or (r.outcome = 'accepted' and r.attempt <= c.attempt and (c.state <> 'settled' or c.outcome = 'unknown'))
    order by c.delivery_id for update of c
)
update claims c
set state = 'settled', outcome = h.outcome, reason = h.reason, provider_id = h.provider_id, lease_until = null, settled_at = now(),
    doubts = h.doubts
from held h where c.delivery_id = h.delivery_id
returning c.delivery_id, h.outcome in ('accepted', 'unknown') and h.doubts > 1 as doubled

-- name: try_again
-- Back among the waiting: certainly not sent, or its step wants it sent again.
update claims c
set state = 'waiting', lease_until = null, next_at = now() + make_interval(secs => r.wait), plain = c.plain or r.plain,
    moved = c.moved or r.moved, doubts = c.doubts + r.doubt::int
from unnest($1::uuid[], $2::int[], $3::float8[], $4::boolean[], $5::boolean[], $6::boolean[])
    as r(id, attempt, wait, plain, moved, doubt)
where c.delivery_id = r.id and c.attempt = r.attempt and c.state = 'sending'
returning c.delivery_id

-- name: give_back
-- A volley whose claim got no answer: whoever asked for it knows that nothing of it was sent.
update claims set state = 'waiting', lease_until = null, next_at = now()
where state = 'sending' and volley = any($1::uuid[]) returning delivery_id

-- name: chats_hold
-- Telegram asked for patience with a chat.
insert into chat_pace as p (chat_id, next_at)
select chat_id, now() + make_interval(secs => wait) from unnest($1::text[], $2::float8[]) as r(chat_id, wait) order by 1
on conflict (chat_id) do update set next_at = greatest(p.next_at, excluded.next_at)

-- name: chats_mark
-- What a refusal said about a chat.
insert into chats as h (chat_id, user_id, state)
select * from unnest($1::text[], $2::uuid[], $3::text[]) as r(chat_id, user_id, state) order by 1
on conflict (chat_id) do update set state = excluded.state, user_id = excluded.user_id where h.state <> 'replaced'

-- name: chat_move
-- The old id leads to the new one from now on; a refusal moves along.
with refused as (
    insert into refusals as r (chat_id, at, user_id) select $2, at, user_id from refusals where chat_id = $1
    on conflict (chat_id) do update set at = excluded.at, user_id = excluded.user_id where r.at < excluded.at
), made as (
    insert into chats (chat_id, user_id) values ($2, $3) on conflict do nothing
)
insert into chats (chat_id, user_id, state, moved_to) values ($1, $3, 'replaced', $2)
on conflict (chat_id) do update set state = 'replaced', moved_to = excluded.moved_to

-- name: reap
-- Whoever claimed these is gone or too late: the message may have arrived, and nobody can tell. It is over, unless its step
-- wants it sent again and fewer than $1 attempts may have arrived.
with lost as materialized (
    select delivery_id, retries and doubts + 1 < $1 as again from claims
    where state = 'sending' and lease_until < now() limit 500 for update skip locked
)
update claims c
set state = case when l.again then 'waiting' else 'settled' end, lease_until = null, doubts = c.doubts + 1,
    next_at = case when l.again then now() else c.next_at end,
    outcome = case when not l.again then 'unknown' end, reason = case when not l.again then 'worker_lost' end,
    settled_at = case when not l.again then now() end
from lost l where c.delivery_id = l.delivery_id
returning c.delivery_id, c.attempt, c.outcome, case when c.doubts > 1 then 'possible_duplicate' else c.reason end as reason

-- name: refuse_waiting
-- The channel is off: nothing waits for it.
update claims set state = 'settled', outcome = case when doubts = 0 then 'rejected' else 'unknown' end, settled_at = now(),
    reason = case when doubts > 1 then 'possible_duplicate' else $1 end
where delivery_id = any(array(select delivery_id from claims where state = 'waiting' limit 500 for update skip locked))
returning delivery_id, attempt, outcome, reason

-- name: links_keep
-- Links exist before the message that carries them leaves; most are known to this process already.
insert into links (id, url) select * from unnest($1::text[], $2::text[]) on conflict do nothing

-- ── what people do ──────────────────────────────────────────────────────────────────────────────────────────────────

-- name: inbound_page
-- Updates that came over HTTP, as the gateway stored them.
select items from {publish}.telegram_inbox where page_id = $1

-- name: updates_see
-- The ones that nobody has handled yet; a second handler waits here for the first, then finds them seen.
insert into seen_updates (bot_id, update_id) select $1, id from unnest($2::bigint[]) id order by id
on conflict do nothing returning update_id

-- name: tokens_take
-- A token is taken once, whoever comes at the same moment. Returns those that were taken now.
insert into used_tokens (hash, chat_id) select * from unnest($1::bytea[], $2::text[]) as r(hash, chat_id) order by 1
on conflict do nothing returning hash

-- name: tokens_used
-- By which chats, before.
select hash, chat_id from used_tokens where hash = any($1::bytea[])

-- name: people_known
-- A token may outlive its person. With when they last said yes or no, as the gateway has it.
select p.id, c.consent_at as word_at from {publish}.people p
left join {publish}.contacts c on c.user_id = p.id and c.channel = 'telegram'
where p.id = any($1::uuid[])

-- name: chats_known
-- Whose chats these are, by the later word of a link and an import; their state; when they last said yes or no, here or
-- elsewhere, and whether a /stop stands; the message that last came to them.
select o.chat_id, o.state, o.user_id, greatest(c.consent_at, r.at) as word_at,
    r.chat_id is not null and (c.consent_at > r.at and coalesce(r.user_id, o.chats_user) = o.user_id) is not true as refused,
    (select k.delivery_id from claims k
     where k.chat_id = o.chat_id and k.outcome = 'accepted'
     order by k.claimed_at desc limit 1) as latest
from (
    select w.chat_id, coalesce(h.state, 'ok') as state, h.user_id as chats_user,
        case when h.linked_at >= c.addressed_at then h.user_id else coalesce(c.user_id, h.user_id) end as user_id
    from unnest($1::text[]) as w(chat_id)
    left join chats h on h.chat_id = w.chat_id
    left join {publish}.contacts c on c.channel = 'telegram' and c.address = w.chat_id
) o
left join refusals r on r.chat_id = o.chat_id
left join {publish}.contacts c on c.channel = 'telegram' and c.user_id = o.user_id

-- name: messages_known
-- Which deliveries these messages are.
select provider_id, delivery_id from claims where provider_id = any($1::text[])

-- name: chats_save
-- Chats as they are now. $4: linked at this moment, $5, in business time as contacts are.
insert into chats as h (chat_id, user_id, state, linked_at)
select r.chat_id, r.user_id, r.state, case when r.linked then $5::timestamptz end
from unnest($1::text[], $2::uuid[], $3::text[], $4::boolean[]) as r(chat_id, user_id, state, linked) order by 1
on conflict (chat_id) do update set user_id = excluded.user_id, state = excluded.state,
    linked_at = coalesce(excluded.linked_at, h.linked_at),
    moved_to = case when excluded.linked_at is null then h.moved_to end

-- name: chats_replace
-- A person has one chat: the one linked last.
update chats set state = 'replaced' where user_id = any($1::uuid[]) and chat_id <> all($2::text[]) and state <> 'replaced'

-- name: refusals_keep
-- The last one counts: a grant lies between it and the one before, perhaps.
insert into refusals as r (chat_id, user_id, at) select * from unnest($1::text[], $2::uuid[], $3::timestamptz[]) as w(chat_id, user_id, at)
order by 1
on conflict (chat_id) do update set user_id = excluded.user_id, at = greatest(r.at, excluded.at)

-- name: refusals_drop
-- Linking again is a new word.
delete from refusals where chat_id = any($1::text[])

-- name: offset_find
-- Where to go on. After days of silence update ids begin anew anywhere, so an old offset is worth nothing.
select next_id from poll_offsets where bot_id = $1 and moved_at > now() - interval '5 days'

-- name: offset_move
-- In the transaction of what the updates caused.
insert into poll_offsets as o (bot_id, next_id) values ($1, $2)
on conflict (bot_id) do update set next_id = excluded.next_id, moved_at = now()

-- ── the channel ─────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: bot_save
-- Whether the token is a bot's, and which one's.
insert into channel as c (one, ready, bot_username, updates, bot_problem) values (true, $1, $2, $3, $4)
on conflict (one) do update set ready = excluded.ready, bot_username = coalesce(excluded.bot_username, c.bot_username),
    updates = excluded.updates, bot_problem = excluded.bot_problem, checked_at = now(),
    updates_problem = case when c.updates = excluded.updates then c.updates_problem end

-- name: updates_problem
-- What keeps updates from coming; only a change writes.
insert into channel as c (one, updates, updates_problem) values (true, $1, $2)
on conflict (one) do update set updates_problem = excluded.updates_problem
where c.updates_problem is distinct from excluded.updates_problem

-- name: prune
-- Inbox rows outlive every stream; after 35 days nothing can bring their pages back.
with old_pages as (
    delete from pages where id in (select id from pages where received_at < now() - interval '35 days' limit $1) returning 1
), old_claims as (
    delete from claims where delivery_id in (
        select delivery_id from claims where state = 'settled' and settled_at < now() - interval '35 days' limit $1)
    returning 1
), old_updates as (
    delete from seen_updates where (bot_id, update_id) in (
        select bot_id, update_id from seen_updates where at < now() - interval '35 days' limit $1)
    returning 1
), old_tokens as (
    delete from used_tokens where hash in (
        select hash from used_tokens where used_at < now() - interval '35 days' limit $1)
    returning 1
), old_pace as (
    delete from chat_pace where chat_id in (
        select chat_id from chat_pace where next_at < now() - interval '1 day' limit $1)
    returning 1
)
select (select count(*) from old_pages) + (select count(*) from old_claims) + (select count(*) from old_updates)
    + (select count(*) from old_tokens) + (select count(*) from old_pace) as gone

-- name: limits_tell
-- What the setting says, once at each start; only a change writes.
insert into limits as l (one, max_attempts) values (true, $1)
on conflict (one) do update set max_attempts = excluded.max_attempts where l.max_attempts <> excluded.max_attempts
