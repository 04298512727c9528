-- migrate:up
-- How many deliveries have each fact, by the day they were planned (UTC) and by what one asks them by. What changes is
-- appended in the transaction that changes it, a row a key and statement, so that no two transactions ever wait for the same
-- counter; the controller's tick adds those rows up. The truth is the sum of both tables, which the view shows.
create table analytics_counts (
    day date not null,
    sequence_type text not null,
    step smallint not null,
    variant text not null,
    channel text not null,
    planned bigint not null,
    sent bigint not null,
    delivered bigint not null,
    opened bigint not null,
    clicked bigint not null,
    bounced bigint not null,
    complained bigint not null,
    failed bigint not null,
    suppressed bigint not null,
    cancelled bigint not null,
    expired bigint not null,
    unknown bigint not null,
    fallbacks bigint not null,
    fallback_saves bigint not null,
    primary key (day, sequence_type, step, variant, channel)
);
create table analytics_changes (like analytics_counts including defaults);

-- What these rows count for; `sign` is -1 for rows as they were, so that a fact told again or in another order adds nothing.
create function count_deliveries() returns trigger language plpgsql set search_path from current as $$
begin
    if tg_op = 'INSERT' then
        insert into analytics_changes
        select (d.created_at at time zone 'UTC')::date, d.sequence_type, d.step, coalesce(d.variant, ''), d.channel, count(*),
            count(d.sent_at), count(d.delivered_at), count(d.opened_at), count(d.clicked_at), count(d.bounced_at),
            count(d.complained_at), count(d.failed_at), count(d.suppressed_at), count(d.cancelled_at), count(d.expired_at),
            count(d.unknown_at), count(d.fallback_of),
            count(*) filter (where d.fallback_of is not null and coalesce(d.delivered_at, d.opened_at, d.clicked_at) is not null)
        from after_rows d group by 1, 2, 3, 4, 5;
    else
        insert into analytics_changes
        select c.* from (
            select (d.created_at at time zone 'UTC')::date, d.sequence_type, d.step, coalesce(d.variant, ''), d.channel,
                sum(s) as planned, coalesce(sum(s) filter (where d.sent_at is not null), 0) as sent,
                coalesce(sum(s) filter (where d.delivered_at is not null), 0) as delivered,
                coalesce(sum(s) filter (where d.opened_at is not null), 0) as opened,
                coalesce(sum(s) filter (where d.clicked_at is not null), 0) as clicked,
                coalesce(sum(s) filter (where d.bounced_at is not null), 0) as bounced,
                coalesce(sum(s) filter (where d.complained_at is not null), 0) as complained,
                coalesce(sum(s) filter (where d.failed_at is not null), 0) as failed,
                coalesce(sum(s) filter (where d.suppressed_at is not null), 0) as suppressed,
                coalesce(sum(s) filter (where d.cancelled_at is not null), 0) as cancelled,
                coalesce(sum(s) filter (where d.expired_at is not null), 0) as expired,
                coalesce(sum(s) filter (where d.unknown_at is not null), 0) as unknown,
                coalesce(sum(s) filter (where d.fallback_of is not null), 0) as fallbacks,
                coalesce(sum(s) filter (where d.fallback_of is not null
                    and coalesce(d.delivered_at, d.opened_at, d.clicked_at) is not null), 0) as fallback_saves
            from (select -1 as s, b.* from before_rows b union all select 1, a.* from after_rows a) d
            group by 1, 2, 3, 4, 5
        ) c
        where (c.planned, c.sent, c.delivered, c.opened, c.clicked, c.bounced, c.complained, c.failed, c.suppressed, c.cancelled,
            c.expired, c.unknown, c.fallbacks, c.fallback_saves) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    end if;
    return null;
end $$;
create trigger count_planned after insert on deliveries
    referencing new table as after_rows for each statement execute function count_deliveries();
-- Rows that are deleted some day stay counted: what was sent was sent.
create trigger count_facts after update on deliveries
    referencing old table as before_rows new table as after_rows for each statement execute function count_deliveries();

-- What there is already.
insert into analytics_counts
select (d.created_at at time zone 'UTC')::date, d.sequence_type, d.step, coalesce(d.variant, ''), d.channel, count(*),
    count(d.sent_at), count(d.delivered_at), count(d.opened_at), count(d.clicked_at), count(d.bounced_at), count(d.complained_at),
    count(d.failed_at), count(d.suppressed_at), count(d.cancelled_at), count(d.expired_at), count(d.unknown_at),
    count(d.fallback_of),
    count(*) filter (where d.fallback_of is not null and coalesce(d.delivered_at, d.opened_at, d.clicked_at) is not null)
from deliveries d group by 1, 2, 3, 4, 5;
