-- migrate:up
-- Clicks in Telegram within seven seconds of their message counted as machines'. What such messages are worth is found again
-- here, from their own answers: the best of them, without three links within two seconds. Nobody folds meanwhile.
lock table states, means in share row exclusive mode;

with worth as (
    select m.delivery_id, a.place, a.one, case
        when a.one ->> 'kind' in ('pressed', 'replied') then 1.0
        when a.one ->> 'kind' = 'clicked' and exists (
            select from jsonb_array_elements(m.signals) l
            where l ->> 'kind' = 'clicked'
                and (a.one ->> 'at')::float8 between (l ->> 'at')::float8 - 2 and (l ->> 'at')::float8
                and (select count(distinct coalesce(w ->> 'link', '')) from jsonb_array_elements(m.signals) w
                     where w ->> 'kind' = 'clicked'
                         and (w ->> 'at')::float8 between (l ->> 'at')::float8 - 2 and (l ->> 'at')::float8) >= 3
        ) then 0.0
        else case a.one ->> 'kind' when 'clicked' then 1.0 else 0.2 end
            * case coalesce(a.one ->> 'signal', 'unknown') when 'human' then 0.6 when 'unknown' then 0.3 else 0.0 end
    end::float8 as credit
    from message_credits m cross join lateral jsonb_array_elements(m.signals) with ordinality as a(one, place)
    where m.channel = 'telegram' and m.delivered_at is not null and exists (
        select from jsonb_array_elements(m.signals) s
        where s ->> 'kind' = 'clicked' and (s ->> 'at')::float8 < extract(epoch from m.delivered_at)::float8 + 7)
), found as (
    select delivery_id, max(credit) as credit, jsonb_agg(one || jsonb_build_object('credit', credit) order by place) as signals
    from worth group by delivery_id
), revalued as materialized (
    select m.delivery_id, m.user_id, f.signals, case when m.goal_at is null then f.credit else m.credit end as credit,
        case when m.goal_at is null then f.credit - m.credit else 0 end * power(2::float8, greatest(-1000, least(1000,
            extract(epoch from m.delivered_at - timestamptz '2026-01-01 00:00:00+00')::float8 / 2592000))) as r
    from message_credits m join found f using (delivery_id)
), messages as (
    update message_credits m set signals = v.signals, credit = v.credit from revalued v where m.delivery_id = v.delivery_id
), people as (
    update states s set telegram_r = s.telegram_r + v.r
    from (select user_id, sum(r) as r from revalued group by user_id) v where s.user_id = v.user_id
)
update means m set r = m.r + v.r from (select sum(r) as r from revalued having count(*) > 0) v where m.kind = 'telegram';
