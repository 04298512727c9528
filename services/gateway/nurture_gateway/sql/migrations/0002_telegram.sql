-- migrate:up
alter table inbound_pages drop constraint inbound_pages_kind_check;
alter table inbound_pages add constraint inbound_pages_kind_check check (kind in ('webhooks', 'hits', 'telegram'));

-- When the address came by linking a chat: an older word of that kind changes nothing.
alter table contacts add column linked_at timestamptz;

-- Whose chat is this? Asked for every update.
create index contacts_chat on contacts (address) where channel = 'telegram';
