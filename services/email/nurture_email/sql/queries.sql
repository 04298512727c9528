-- The email room's questions.

-- name: page_take
-- A page that comes again is known by its id. Its deliveries are of one sequence type, so the first one tells which.
insert into pages (id, members, test, sequence_type)
select $1, $2, $3, coalesce(
    (select o.sequence_type from {publish}.outbound_messages o where not $3 and o.delivery_id = ($2::uuid[])[1]), '')
on conflict do nothing

-- name: look
-- The idle tick's only statement: is there anything to claim, is the channel parked (seconds), and is anything held?
select exists(select from claims where state = 'open' and next_at <= now())
    or exists(select from pages where claim_id is null) as work,
    (select extract(epoch from parked_until - clock_timestamp())::float8 from pace
     where account = $1 and parked_until > clock_timestamp()) as parked,
    {publish}.is_held(null) as held

-- name: waiting_to_send
-- For the gauges: what is not claimed yet, what is not settled yet, and whether the channel stands still.
select clock_timestamp() as now,
    (select count(*) from (select from pages where claim_id is null limit 10000) p) as waiting,
    (select received_at from pages where claim_id is null order by received_at limit 1) as oldest,
    (select count(*) from (select from claims where state = 'open' limit 10000) c) as claims,
    (select count(*) from pace where account = $1 and parked_until > clock_timestamp()) as parked

-- name: look_beside
-- While something is held: is there anything to claim beside it?
with recursive {use walk}
select not exists(select from held where reason = 'restored') and (
    exists(select from claims where state = 'open' and next_at <= now())
    or exists(select from pages where claim_id is null and test)
    or exists(select from types where type is not null)) as work

-- name: walk
-- What is held, and the types of waiting pages that are not: from type to type by index, since held pages may be many.
held as materialized (
    select sequence_type, reason from {publish}.holds
), waiting_types(type) as (
    (select sequence_type from pages where claim_id is null and not test order by sequence_type limit 1)
    union all
    select (select p.sequence_type from pages p where p.claim_id is null and not p.test and p.sequence_type > t.type
            order by p.sequence_type limit 1)
    from waiting_types t where t.type is not null
), types as materialized (
    select type from waiting_types w
    where w.type is not null and not exists (select from held h where h.sequence_type in ('*', w.type))
)

-- name: claim_next
-- One statement, so one snapshot: a due claim, else waiting pages up to a full request, with consent checked as the rule.
-- While anything is held it takes nothing, and the other form below does.
-- $1 new claim's id, $2 lease in seconds, $3 business time, $4 settings to render by, $5 members of a full request.
with held as materialized (
    select {publish}.is_held(null) as anything
), due as materialized (
    select id, members, test, results, may_have_arrived or lease_until is not null as arrived
    from claims where state = 'open' and next_at <= now() and not (select anything from held)
    order by next_at limit 1 for update skip locked
), head as materialized (
    select test from pages where claim_id is null and not exists (select from due) and not (select anything from held)
    order by received_at, id limit 1
), waiting as materialized (
    select id, sum(cardinality(members)) over (order by received_at, id) as upto
    from (
        select p.id, p.members, p.received_at from pages p join head on head.test = p.test
        where p.claim_id is null order by p.received_at, p.id limit $5
    ) as oldest
), {use take_pages}, {use checked}, {use claim_request}

-- name: claim_next_beside
-- The same while something is held: pages of a held type wait, test mails and claims that were opened before go on. In a
-- restored database nothing does: what is open there may have been sent under another claim since.
with recursive {use walk}, due as materialized (
    select id, members, test, results, may_have_arrived or lease_until is not null as arrived
    from claims where state = 'open' and next_at <= now() and not exists (select from held where reason = 'restored')
    order by next_at limit 1 for update skip locked
), free as materialized (
    (select id, test, cardinality(members) as size, received_at from pages
     where claim_id is null and test and not exists (select from held where reason = 'restored')
     order by received_at, id limit $5)
    union all
    select p.* from types t, lateral (
        select id, test, cardinality(members), received_at from pages
        where claim_id is null and not test and sequence_type = t.type order by received_at, id limit $5
    ) p
), head as materialized (
    select test from free where not exists (select from due) order by received_at, id limit 1
), waiting as materialized (
    select id, sum(size) over (order by received_at, id) as upto from free join head using (test)
), {use take_pages}, {use checked}, {use claim_request}

-- name: take_pages
-- Waiting pages become one request.
taken as (
    update pages set claim_id = $1
    where id = any(array(
        select p.id from pages p
        where p.id = any(array(select id from waiting where upto <= $5)) and p.claim_id is null
        for update skip locked
    ))
    returning id, members[taken + 1:] as members, test, received_at
), source as (
    select m.id, m.place, due.test, due.arrived
    from due, unnest(due.members) with ordinality as m(id, place)
    where not due.results ? m.id::text
    union all
    (select distinct on (m.id) m.id, row_number() over (order by t.received_at, t.id, m.place), t.test, false
    from taken t, unnest(t.members) with ordinality as m(id, place)
    order by m.id, 2)
)

-- name: checked
-- The rule: who of `source` may be sent to at this moment, and if not, why. An address that is not the person's any more gets
-- nothing, but for the repeat of a request that it may have got: under its key that is the same request or none.
checked as (
    select s.id, s.place, s.test, s.arrived, o.address, o.template, o.subject, o.body, o.params, o.traceparent,
        t.address as test_address, t.user_name as test_user_name, t.template as test_template, t.purpose as test_purpose,
        case
            when s.test and t.id is null then 'rejected/missing'
            when t.purpose = 'verification' and u.reason is not null then 'suppressed/' || u.reason
            when t.purpose = 'verification' and c.unsubscribed then 'suppressed/refused'
            when t.purpose = 'verification' and lower(c.address) <> lower(t.address) and not s.arrived then 'suppressed/address_changed'
            when s.test then null
            when o.delivery_id is null then 'rejected/missing'
            when not o.enrolment_active then 'suppressed/cancelled'
            when u.reason is not null then 'suppressed/' || u.reason
            when c.user_id is null then 'suppressed/no_contact'
            when case o.kind when 'announcement' then c.announcement_consent else c.consent end <> 'granted' then 'suppressed/refused'
            when lower(c.address) <> lower(o.address) and not s.arrived then 'suppressed/address_changed'
            when c.state <> 'ok' then 'suppressed/' || c.state
            when o.expires_at < $3::timestamptz and not s.arrived then 'expired/too_late'
        end as fell
    from source s
    left join {publish}.outbound_messages o on o.delivery_id = s.id and not s.test
    left join {publish}.test_messages t on t.id = s.id and s.test
    left join {publish}.contacts c on c.user_id = coalesce(o.user_id, t.user_id) and c.channel = 'email'
    left join lateral (
        select e.reason from {publish}.email_suppressions e where e.address_key = lower(coalesce(o.address, t.address)) limit 1
    ) u on true
)

-- name: claim_request
-- The claim of one request, due or new, with what it says to whom.
fallen as (
    select coalesce(jsonb_object_agg(id, jsonb_build_object('outcome', split_part(fell, '/', 1),
        'reason', split_part(fell, '/', 2), 'late', arrived)) filter (where fell is not null), '{}') as results
    from checked
), renewed as (
    update claims c
    set attempt = c.attempt + 1, fence = c.fence + 1, may_have_arrived = due.arrived,
        lease_until = now() + make_interval(secs => $2), next_at = now() + make_interval(secs => $2),
        first_call_at = coalesce(c.first_call_at, now()), render = coalesce(c.render, $4::jsonb),
        results = c.results || fallen.results
    from due, fallen where c.id = due.id
    returning c.id, c.members, c.test, c.attempt, c.fence, c.refusals, c.first_call_at, c.may_have_arrived, c.render, c.results
), opened as (
    insert into claims (id, members, test, attempt, fence, lease_until, next_at, first_call_at, render, results)
    select $1, array_agg(s.id order by s.place), bool_or(s.test), 1, 1, now() + make_interval(secs => $2),
        now() + make_interval(secs => $2), now(), $4::jsonb, (select results from fallen)
    from source s where not exists (select from due) having count(*) > 0
    returning id, members, test, attempt, fence, refusals, first_call_at, may_have_arrived, render, results
)
select claim.*, now() as now, content.*
from (select * from renewed union all select * from opened) as claim, (
    {use content}
    from (select * from checked order by place) as ordered
) as content

-- name: content
-- What its mails are made of, in the order of its members.
select array_agg(id) filter (where fell is not null) as fresh, array_agg(traceparent) filter (where traceparent is not null) as traceparents,
    array_agg(id) filter (where fell is null) as ids,
    array_agg(coalesce(address, test_address)) filter (where fell is null) as addresses,
    array_agg(coalesce(template, test_template)) filter (where fell is null) as templates,
    array_agg(subject) filter (where fell is null) as subjects,
    array_agg(body) filter (where fell is null) as bodies,
    array_agg(coalesce(params, jsonb_build_object('user_name', test_user_name, 'purpose', test_purpose))) filter (where fell is null) as params

-- name: claim_volley
-- Without a key each delivery is a claim of its own, named like it, so that a delivery has one at most: due claims, then
-- members of the oldest waiting page, as many as there are places. While anything is held it takes nothing, and the other
-- form below does.
-- $1 volley, $2 lease in seconds, $3 business time, $4 settings to render by, $5 places.
with held as materialized (
    select {publish}.is_held(null) as anything
), due as materialized (
    select id, members, test, results, may_have_arrived or lease_until is not null as arrived
    from claims where state = 'open' and next_at <= now() and not (select anything from held)
    order by next_at, id limit $5::int for update skip locked
), head as materialized (
    select id, members, taken, test, sequence_type from pages
    where claim_id is null and not (select anything from held) and (select count(*) from due) < $5::int
    order by received_at, id limit 1 for update skip locked
), {use take_members}, {use checked}, {use claim_each}

-- name: claim_volley_beside
-- The same while something is held: pages of a held type wait, and so do claims that are to be tried again, since nothing of
-- them has arrived. In a restored database nothing goes on.
with recursive {use walk}, due as materialized (
    select c.id, c.members, c.test, c.results, c.may_have_arrived or c.lease_until is not null as arrived
    from claims c where {use due_beside} order by c.next_at, c.id limit $5::int for update skip locked
), free as materialized (
    (select id, received_at from pages
     where claim_id is null and test and not exists (select from held where reason = 'restored')
     order by received_at, id limit $5::int)
    union all
    select p.* from types t, lateral (
        select id, received_at from pages
        where claim_id is null and not test and sequence_type = t.type order by received_at, id limit $5::int
    ) p
), head as materialized (
    select p.id, p.members, p.taken, p.test, p.sequence_type from pages p join free using (id)
    where p.claim_id is null and (select count(*) from due) < $5::int
    order by p.received_at, p.id limit 1 for update of p skip locked
), {use take_members}, {use checked}, {use claim_each}

-- name: due_beside
-- Claims that go on beside what is held; what may have arrived is only settled.
c.state = 'open' and c.next_at <= now() and not exists (select from held where reason = 'restored')
        and (c.test or c.may_have_arrived or c.lease_until is not null
            or not exists (select from held h where h.sequence_type in ('*', c.sequence_type)))

-- name: look_volley_beside
-- While something is held: is there anything for a volley beside it?
with recursive {use walk}
select not exists (select from held where reason = 'restored') and (
    exists (select from claims c where {use due_beside})
    or exists (select from pages where claim_id is null and test)
    or exists (select from types where type is not null)) as work

-- name: take_members
-- Places that no due claim took are for members of one page; a page whose last member is taken waits no longer.
part as (
    select m.id, m.place from head,
        unnest(head.members[head.taken + 1 : head.taken + $5::int - (select count(*)::int from due)]) with ordinality as m(id, place)
), moved as (
    update pages p set taken = head.taken + n.members,
        claim_id = case when head.taken + n.members >= cardinality(p.members) then n.last end
    from head, (select count(*)::int as members, (array_agg(id order by place desc))[1] as last from part) n
    where p.id = head.id
), source as (
    select m.id, due.id as claim_id, m.place, due.test, due.arrived
    from due, unnest(due.members) with ordinality as m(id, place)
    where not due.results ? m.id::text
    union all
    (select distinct on (part.id) part.id, part.id, part.place, head.test, false from part, head
     where not exists (select from claims c where c.id = part.id) order by part.id, part.place)
)

-- name: claim_each
-- The claims of a volley, due or new, each with what it says to whom.
fallen as (
    select s.claim_id, jsonb_object_agg(k.id, jsonb_build_object('outcome', split_part(k.fell, '/', 1),
        'reason', split_part(k.fell, '/', 2), 'late', k.arrived)) as results
    from checked k join source s using (id) where k.fell is not null group by s.claim_id
), renewed as (
    update claims c
    set attempt = c.attempt + 1, fence = c.fence + 1, may_have_arrived = due.arrived, volley = $1,
        lease_until = now() + make_interval(secs => $2), next_at = now() + make_interval(secs => $2),
        first_call_at = coalesce(c.first_call_at, now()), render = coalesce(c.render, $4::jsonb),
        results = c.results || coalesce((select results from fallen f where f.claim_id = c.id), '{}')
    from due where c.id = due.id
    returning c.id, c.members, c.test, c.attempt, c.fence, c.refusals, c.first_call_at, c.may_have_arrived, c.render, c.results
), opened as (
    insert into claims (id, members, test, sequence_type, attempt, fence, lease_until, next_at, first_call_at, render, results, volley)
    select s.id, array[s.id], s.test, head.sequence_type, 1, 1, now() + make_interval(secs => $2),
        now() + make_interval(secs => $2), now(), $4::jsonb,
        coalesce((select results from fallen f where f.claim_id = s.id), '{}'), $1
    from source s, head where s.claim_id not in (select id from due) on conflict do nothing
    returning id, members, test, attempt, fence, refusals, first_call_at, may_have_arrived, render, results
)
select claim.*, now() as now, content.*
from (select * from renewed union all select * from opened) as claim, lateral (
    {use content}
    from (select k.* from checked k join source s using (id) where s.claim_id = claim.id order by k.place) as ordered
) as content
order by claim.id

-- name: volley_settle
-- The ends of a volley, each by whoever holds it. `before`: it was written already, and its writer did not hear of it.
with ended as (
    select * from unnest($1::uuid[], $2::int[], $3::jsonb[]) as e(id, fence, results)
), mine as (
    update claims c set state = 'settled', results = e.results, settled_at = now(), lease_until = null
    from ended e where c.id = e.id and c.fence = e.fence and c.state = 'open' returning c.id
)
select e.id, m.id is not null as ours,
    exists (select from claims c where c.id = e.id and c.fence = e.fence and c.state = 'settled') as before
from ended e left join mine m using (id)

-- name: volley_retry
-- Certainly not sent, so they wait for their next try. `restart` as in `claim_retry`.
update claims c set lease_until = null, next_at = now() + make_interval(secs => r.wait), may_have_arrived = r.arrived,
    first_call_at = case when not r.restart then c.first_call_at end
from unnest($1::uuid[], $2::int[], $3::float8[], $4::boolean[], $5::boolean[]) as r(id, fence, wait, arrived, restart)
where c.id = r.id and c.fence = r.fence and c.state = 'open' returning c.id

-- name: volley_give_back
-- Volleys whose claim got no answer: whoever asked for them knows that nothing of them was sent.
update claims set lease_until = null, next_at = now()
where state = 'open' and lease_until is not null and volley = any($1::uuid[]) returning id

-- name: links_keep
-- Links exist before the mail that carries them leaves; most are known to this process already.
insert into links (id, url) select * from unnest($1::text[], $2::text[]) on conflict do nothing

-- name: claim_settle
-- Only the holder of the lease may write an end; a late one finds its fence gone. `before`: it wrote this end already, and did
-- not hear of it.
with mine as (
    update claims set state = 'settled', results = $3, settled_at = now(), lease_until = null
    where id = $1 and fence = $2 and state = 'open' returning id
)
select exists (select from mine) as ours,
    exists (select from claims where id = $1 and fence = $2 and state = 'settled') as before

-- name: claim_follow_up
-- Members that were certainly not sent, under a new key; what is left of the time to try comes along.
insert into claims (id, members, test, attempt, refusals, first_call_at, next_at)
values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))

-- name: claim_retry
-- The same request again later. `$5`: it never left, and the fault was the account's, so its clock starts anew.
update claims set lease_until = null, next_at = now() + make_interval(secs => $3), may_have_arrived = $4,
    first_call_at = case when $5 then null else first_call_at end
where id = $1 and fence = $2 and state = 'open' returning id

-- name: suppress
-- Addresses by delivery, in one statement; the first report since the address was lifted stays. A mail that asked whether a
-- mailbox is somebody's counts as a delivery does. Returns whose they are.
with reported as (
    select * from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as r(delivery_id, reason, at)
), found as (
    select r.delivery_id, r.reason, r.at, m.user_id, lower(m.address) as address_key
    from reported r cross join lateral (
        select o.user_id, o.address from {publish}.outbound_messages o where o.delivery_id = r.delivery_id
        union all
        select t.user_id, t.address from {publish}.test_messages t where t.id = r.delivery_id and t.purpose = 'verification'
    ) m
), kept as (
    insert into suppressions (address_key, reason, at, delivery_id)
    select distinct on (address_key) address_key, reason, at, delivery_id from found order by address_key, at
    on conflict (address_key) do update set reason = excluded.reason, at = excluded.at, delivery_id = excluded.delivery_id
    where exists (
        select from {publish}.suppressions_by_hand h
        where h.address_key = excluded.address_key and h.verdict = 'lifted' and h.at >= suppressions.at)
)
select delivery_id, user_id, reason, at from found where user_id is not null

-- name: prune
-- Inbox rows outlive every stream; after 35 days nothing can bring their pages back.
with old_pages as (
    delete from pages where id in (
        select id from pages where received_at < now() - interval '35 days' and claim_id is not null limit $1)
    returning 1
), old_claims as (
    delete from claims where id in (
        select id from claims where state = 'settled' and settled_at < now() - interval '35 days' limit $1)
    returning 1
)
select (select count(*) from old_pages) + (select count(*) from old_claims) as gone

-- name: limits_tell
-- What the setting says, once at each start; only a change writes.
insert into limits as l (one, max_attempts) values (true, $1)
on conflict (one) do update set max_attempts = excluded.max_attempts where l.max_attempts <> excluded.max_attempts
