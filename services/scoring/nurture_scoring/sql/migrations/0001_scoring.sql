-- migrate:up
-- What this room heard, by kind and day: a redelivered page counts again, so it is a gauge of traffic, not a statistic.
create table heard (kind text not null, day date not null, items bigint not null, primary key (kind, day));
