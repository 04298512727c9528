-- migrate:up
-- `volley`: what the claim was asked for as, so that a claim whose reply was lost can be given back. `retries`: the step
-- says `on_ambiguous = "retry"`. `doubts`: attempts that are over and may have arrived.
alter table claims add column volley uuid, add column retries boolean not null default false,
    add column doubts smallint not null default 0;
