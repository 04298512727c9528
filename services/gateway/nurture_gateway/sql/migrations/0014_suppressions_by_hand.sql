-- migrate:up
-- An operator's last word on an address: closed, though no provider reported it, or lifted, though one did. A report that is
-- newer than a lift closes the address again.
create table suppressions_by_hand (
    address_key text primary key,
    verdict text not null check (verdict in ('closed', 'lifted')),
    note text not null default '',
    at timestamptz not null
);

-- Whose mailbox a mail asked about: what that mail's reader says binds them.
alter table test_messages add column user_id uuid references users on delete set null;
