-- migrate:up
-- Without a key each member is a claim of its own: so many of a page's members have one. A page is taken when all have.
alter table pages add column taken int not null default 0;

-- `volley`: what a claim was asked for as, so that one whose reply was lost can be given back. `sequence_type`: what holds
-- it, while it waits to be tried again.
alter table claims add column volley uuid, add column sequence_type text not null default '';
