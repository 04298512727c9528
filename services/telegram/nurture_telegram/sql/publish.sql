-- What other rooms may read of telegram. Applied again after every migration.
create or replace view {publish}.telegram_links as select id, url from telegram.links;
grant select on {publish}.telegram_links to nurture_gateway;

-- Chats that are in use: whose, whether they take messages, and when they were linked (null: they came by an import).
create or replace view {publish}.telegram_chats as
select user_id, chat_id, state, linked_at from telegram.chats where state <> 'replaced';
grant select on {publish}.telegram_chats to nurture_gateway;

-- Whether the channel can send, and what is wrong: always one row.
create or replace view {publish}.telegram_channel as
select coalesce(c.ready, false) as ready, c.bot_username, c.updates,
    case when c.one is null then 'the telegram room has not started yet'
        else coalesce(c.bot_problem, c.updates_problem) end as problem,
    p.parked_until, p.park_reason
from (select) as one
left join telegram.channel c on c.one
left join telegram.pace p on p.account = 'telegram' and p.parked_until > now();
grant select on {publish}.telegram_channel to nurture_gateway, nurture_controller;
