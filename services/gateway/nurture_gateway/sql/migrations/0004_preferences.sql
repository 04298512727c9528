-- migrate:up
-- What a person wants on a channel that they agreed to. The published contact counts as refused while sequences are not
-- wanted, so that planning and the claim need no second rule.
alter table contacts
    add column opt_in_sequences boolean not null default true,
    add column opt_in_announcements boolean not null default true;

-- Proof that a mailbox is this person's. Of a token only the SHA-256 is kept. The proof is the address's: a person who
-- changes it is unverified, and verified again when they come back to one that they proved.
create table verifications (
    token_hash bytea primary key check (octet_length(token_hash) = 32),
    user_id uuid not null references users on delete cascade,
    address_key text not null,
    sent_at timestamptz not null,
    expires_at timestamptz not null,
    verified_at timestamptz
);
create index verifications_of_address on verifications (user_id, address_key);

-- Views for people's own SQL show ids of persons as text; a look-up by one still goes by an index.
create index users_by_text on users ((id::text));
