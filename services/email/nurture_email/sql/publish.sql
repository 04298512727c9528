-- What other rooms may read of email. Applied again after every migration.
create or replace view {publish}.email_links as select id, url from email.links;
grant select on {publish}.email_links to nurture_gateway;

-- Whether the channel is parked, and why: always one row, with nulls while it runs. There is a pace for each provider.
create or replace view {publish}.email_channel as
select p.parked_until, p.park_reason
from (select) as one
left join lateral (
    select parked_until, park_reason from email.pace where parked_until > now() order by parked_until desc limit 1
) p on true;
grant select on {publish}.email_channel to nurture_gateway;

-- Addresses that get no mail, in lower case: what a provider reported, unless an operator has lifted it since, and what an
-- operator closed (`manual`).
create or replace view {publish}.email_suppressions as
select s.address_key, s.reason, s.at, s.delivery_id, '' as note
from email.suppressions s
where not exists (
    select from gateway.suppressions_by_hand h
    where h.address_key = s.address_key and h.verdict = 'lifted' and h.at >= s.at)
union all
select h.address_key, 'manual', h.at, null, h.note
from gateway.suppressions_by_hand h
where h.verdict = 'closed' and not exists (select from email.suppressions s where s.address_key = h.address_key);
grant select on {publish}.email_suppressions to nurture_gateway, nurture_controller, nurture_email;
