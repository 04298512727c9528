create table if not exists telegram_bots (
  bot_id integer primary key,
  last_update_id integer not null,
  allowed_updates text,
  webhook_url text not null default '',
  webhook_secret text not null default '',
  max_connections integer not null default 40,
  last_error_at integer,
  last_error text,
  commands text not null default '{}'
);

create table if not exists telegram_chats (
  bot_id integer not null,
  chat_id integer not null,
  blocked integer not null,
  primary key (bot_id, chat_id)
) without rowid;

-- What was said and done in a chat, by both sides. kind: bot (a message of the bot's, then with message_seq), text, press,
-- block, unblock (the person).
create table if not exists telegram_turns (
  message_id integer primary key autoincrement,
  bot_id integer not null,
  chat_id integer not null,
  kind text not null,
  at text not null,
  message_seq integer references messages (seq),
  edited_at text,
  reply_to integer,
  text text not null,
  entities text not null default '[]',
  markup text
);
create index if not exists telegram_turns_chat on telegram_turns (bot_id, chat_id, message_id);
create index if not exists telegram_turns_message on telegram_turns (message_seq) where message_seq is not null;

create table if not exists telegram_updates (
  bot_id integer not null,
  update_id integer not null,
  body text not null,
  made_at real not null,
  due_at real not null,
  attempts integer not null default 0,
  primary key (bot_id, update_id)
) without rowid;

create table if not exists telegram_queries (
  id text primary key,
  bot_id integer not null,
  turn integer not null,
  made_at real not null,
  answer text
) without rowid;
