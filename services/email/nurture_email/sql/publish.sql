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

-- Addresses that a provider reported as dead or unwilling, in lower case.
create or replace view {publish}.email_suppressions as select address_key, reason, at from email.suppressions;
grant select on {publish}.email_suppressions to nurture_gateway, nurture_controller;
