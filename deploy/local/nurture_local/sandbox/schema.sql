-- Wide columns last: lists and searches then never touch the overflow pages that hold bodies.
create table if not exists messages (
  seq integer primary key,
  id text not null unique,
  channel text not null,
  at text not null,
  real_at real not null,
  recipient text not null,
  sender text not null,
  subject text not null,
  delivery_id text,
  idempotency_key text,
  payload_sha256 text not null,
  envelope text not null,
  headers text not null,
  tags text not null,
  attachments text not null,
  text text,
  html text
);
create index if not exists messages_delivery on messages (delivery_id) where delivery_id is not null;

-- One row per thing that happens to a message. It is planned with the message and carried out when due, so that a
-- restart continues where the last process stopped. happens_at stays; due_at moves with each failed attempt.
create table if not exists events (
  seq integer primary key,
  webhook_id text not null,
  message_seq integer not null references messages (seq),
  kind text not null,
  via text not null,
  link text,
  at text not null,
  happens_at real not null,
  due_at real not null,
  attempts integer not null default 0,
  done_at real,
  outcome text
);
create index if not exists events_message on events (message_seq);
create index if not exists events_due on events (due_at) where done_at is null;

create table if not exists idempotency (
  key text primary key,
  request_sha256 text not null,
  response blob not null,
  created_at real not null
);
create index if not exists idempotency_age on idempotency (created_at);

-- Calls that did not simply work; those that did are messages.
create table if not exists calls (
  seq integer primary key,
  channel text not null,
  real_at real not null,
  key text,
  deliveries text not null,
  recipients text not null,
  payload_sha256 text not null,
  reply text not null,
  effective integer not null
);
