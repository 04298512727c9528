-- migrate:up
-- How often this room tries, as its setting has it: one row, which the view `message_deliveries` shows.
create table limits (one boolean primary key default true check (one), max_attempts int not null);
