-- migrate:up
-- Which database this is, as its operator last confirmed it: one row, made by the first controller that starts. A copy or a
-- restored dump has another identity; one that went back in time is told by `restored_at`, with what was seen in `evidence`.
create table installation (
    one boolean primary key default true check (one),
    identity text not null,
    confirmed_at timestamptz not null default now(),
    restored_at timestamptz,
    evidence text,
    check ((restored_at is null) = (evidence is null))
);

-- When a step that is put off was due first: its lateness counts from there.
alter table enrolments add column due_at timestamptz;
