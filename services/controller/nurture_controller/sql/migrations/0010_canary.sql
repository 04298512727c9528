-- migrate:up
-- What these rows count for, without the canary's; `sign` is -1 for rows as they were, so that a fact told again or in another order adds nothing.
create or replace function count_deliveries() returns trigger language plpgsql set search_path from current as $$
begin
    if tg_op = 'INSERT' then
        insert into analytics_changes
        select (d.created_at at time zone 'UTC')::date, d.sequence_type, d.step, coalesce(d.variant, ''), d.channel, count(*),
            count(d.sent_at), count(d.delivered_at), count(d.opened_at), count(d.clicked_at), count(d.bounced_at),
            count(d.complained_at), count(d.failed_at), count(d.suppressed_at), count(d.cancelled_at), count(d.expired_at),
            count(d.unknown_at), count(d.fallback_of),
            count(*) filter (where d.fallback_of is not null and coalesce(d.delivered_at, d.opened_at, d.clicked_at) is not null)
        from after_rows d where d.sequence_type <> '_canary' group by 1, 2, 3, 4, 5;
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
            where d.sequence_type <> '_canary'
            group by 1, 2, 3, 4, 5
        ) c
        where (c.planned, c.sent, c.delivered, c.opened, c.clicked, c.bounced, c.complained, c.failed, c.suppressed, c.cancelled,
            c.expired, c.unknown, c.fallbacks, c.fallback_saves) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    end if;
    return null;
end $$;

-- By person, for those of the canary alone: its answers are forgotten, as its deliveries are.
create index command_results_of_canary on command_results (at)
    where result ->> 'user_id' in ('6b16878e-cc92-58d8-b4fa-f1fd22c189ef', 'cbe71088-d487-5a47-9eb9-61299c455ab2');
