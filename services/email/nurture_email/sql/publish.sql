-- What other rooms may read of email. Applied again after every migration.
create or replace view {publish}.email_links as select id, url from email.links;
grant select on {publish}.email_links to nurture_gateway;

-- Whether the channel is parked, and why; a row with nulls while it runs, none before the first call.
create or replace view {publish}.email_channel as
select case when parked_until > now() then parked_until end as parked_until,
       case when parked_until > now() then park_reason end as park_reason
from email.pace where account = 'resend';
grant select on {publish}.email_channel to nurture_gateway;
