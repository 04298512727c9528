-- migrate:up
-- How scores were spread, a row a day and kind: over time, without a row a person. Days are in UTC and of business time; a row is as of
-- the last look of its day (`at`). `buckets` count the scores from 0, 10, … 90 on, each up to the next; 100 is in the last.
create table score_days (
    day date not null,
    kind text not null check (kind in ('overall', 'email', 'telegram', 'attendance', 'commitment')),
    at timestamptz not null,
    people int not null,
    mean float8 not null,
    p10 float8 not null,
    median float8 not null,
    p90 float8 not null,
    buckets int[] not null,
    primary key (day, kind)
);
