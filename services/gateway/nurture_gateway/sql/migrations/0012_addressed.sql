-- migrate:up
-- Since when a contact has this address, by which a chat that two people claim is the later one's. `changed_at` cannot tell: a
-- wish, a consent or a state moves it too. A trigger, so that it holds whoever writes, a gateway of the version before too.
alter table contacts add column addressed_at timestamptz;

create function addressed() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' or new.address_key is distinct from old.address_key then
        new.addressed_at := new.changed_at;
    else
        new.addressed_at := coalesce(old.addressed_at, old.changed_at);
    end if;
    return new;
end $$;

create trigger contacts_addressed before insert or update on contacts for each row execute function addressed();
