-- Bring back the report and the rules of 1777870069931. The views are dropped with the columns that they got here.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP VIEW IF EXISTS public.view_pancake_report_owner;
DROP VIEW IF EXISTS public.view_pancake_report_source;
DROP FUNCTION IF EXISTS public.pancake_report_owner(timestamptz, timestamptz);
DROP FUNCTION IF EXISTS public.pancake_report_source(timestamptz, timestamptz);
DROP FUNCTION IF EXISTS public.pancake_report_row(timestamptz, timestamptz);
DROP FUNCTION IF EXISTS public.pancake_created_ticket(timestamptz, timestamptz);

CREATE OR REPLACE FUNCTION public.pancake_event_is_invalid(error_code text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT error_code LIKE 'invalid\_%' OR error_code IN ('test_ping', 'erased')
$$;

DROP FUNCTION IF EXISTS public.pancake_error_fault(text);

CREATE FUNCTION public.pancake_created_ticket(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection_id uuid, source_id text, chosen text, is_correct boolean, is_changed boolean, is_unanswered boolean,
        minutes double precision, business_minutes double precision
    )
    LANGUAGE sql STABLE
    AS $$
    -- The planner would check the settings against their rules for each ticket.
    WITH s AS MATERIALIZED (SELECT g.business_hours, g.holidays FROM public.view_pancake_setting AS g)
    SELECT
        m.connection_id, m.source_id, m.chosen, m.chosen = m.owner, m.chosen IS DISTINCT FROM m.owner, m.is_unanswered,
        extract(epoch FROM m.ended_at - m.created_at)::double precision / 60,
        public.pancake_business_minutes(m.created_at, m.ended_at, s.business_hours, s.holidays)
    FROM (
        SELECT
            e.connection_id, coalesce(e.source_ids[1], '(none)') AS source_id, e.evidence -> 'assignment' ->> 'chosen' AS chosen,
            t.assignee_id::text AS owner, t.first_response_at IS NULL AS is_unanswered, t.created_at,
            coalesce(t.first_response_at, greatest(until, t.created_at)) AS ended_at
        FROM public.pancake_webhook_event AS e
        -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
        CROSS JOIN LATERAL (
            SELECT k.assignee_id, k.first_response_at, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
        ) AS t
        WHERE e.created_at >= since AND e.created_at < until AND e.outcome = 'ticket_created'
    ) AS m
    CROSS JOIN s
$$;

CREATE FUNCTION public.pancake_report_source(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection text, source_id text, source text, leads bigint, tickets bigint, held bigint, no_phone bigint,
        missed_by_webhook bigint, unassigned bigint, changed bigint, unanswered bigint, response_p50_minutes double precision,
        response_p95_minutes double precision, response_p50_business_minutes double precision,
        response_p95_business_minutes double precision
    )
    LANGUAGE sql STABLE
    AS $$
    WITH lead AS (
        SELECT
            e.connection_id, (array_agg(e.source_id ORDER BY e.id))[1] AS source_id,
            bool_or(e.class IN ('processed', 'failed', 'stuck', 'waiting')) AS is_accepted,
            bool_or(e.class = 'held') AS is_held,
            bool_or(e.class = 'invalid' AND e.error_code = 'invalid_phone') AS has_no_phone,
            bool_or(e.origin <> 'webhook') AS is_missed
        FROM public.pancake_arrived_event(since, until) AS e
        WHERE e.is_lead
        GROUP BY e.connection_id, e.record_id
    ), of_leads AS (
        SELECT
            l.connection_id, l.source_id, count(*) AS leads,
            count(*) FILTER (WHERE l.is_held AND NOT l.is_accepted) AS held,
            count(*) FILTER (WHERE l.has_no_phone AND NOT l.is_accepted AND NOT l.is_held) AS no_phone,
            count(*) FILTER (WHERE l.is_missed) AS missed_by_webhook
        FROM lead AS l
        GROUP BY GROUPING SETS ((l.connection_id, l.source_id), ())
    ), of_tickets AS (
        SELECT
            t.connection_id, t.source_id, count(*) AS tickets,
            count(*) FILTER (WHERE t.chosen IS NULL) AS unassigned,
            count(*) FILTER (WHERE t.is_changed) AS changed,
            count(*) FILTER (WHERE t.is_unanswered) AS unanswered,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY t.minutes) AS minutes,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY t.business_minutes) AS business_minutes
        FROM public.pancake_created_ticket(since, until) AS t
        GROUP BY GROUPING SETS ((t.connection_id, t.source_id), ())
    )
    SELECT
        c.name, coalesce(l.source_id, t.source_id),
        (SELECT s.name FROM public.pancake_source AS s WHERE s.connection_id = c.id AND s.pancake_source_id = coalesce(l.source_id, t.source_id)),
        coalesce(l.leads, 0), coalesce(t.tickets, 0), coalesce(l.held, 0), coalesce(l.no_phone, 0), coalesce(l.missed_by_webhook, 0),
        coalesce(t.unassigned, 0), coalesce(t.changed, 0), coalesce(t.unanswered, 0),
        t.minutes[1], t.minutes[2], t.business_minutes[1], t.business_minutes[2]
    FROM of_leads AS l
    FULL JOIN of_tickets AS t
        ON coalesce(t.connection_id::text || t.source_id, '') = coalesce(l.connection_id::text || l.source_id, '')
    LEFT JOIN public.pancake_connection AS c ON c.id = coalesce(l.connection_id, t.connection_id)
$$;

CREATE FUNCTION public.pancake_report_owner(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection text, source_id text, source text, owner text, tickets bigint, share double precision, changed bigint,
        weight integer, spread double precision, bound double precision
    )
    LANGUAGE sql STABLE
    AS $$
    WITH owned AS MATERIALIZED (
        SELECT t.connection_id, t.source_id, t.chosen, count(*) AS tickets, count(*) FILTER (WHERE t.is_changed) AS changed
        FROM public.pancake_created_ticket(since, until) AS t
        GROUP BY t.connection_id, t.source_id, t.chosen
    ), roster AS (
        SELECT o.connection_id, o.source_id, s.name, o.assigned, r.id, f.spread, f.bound
        FROM (
            SELECT o.connection_id, o.source_id, sum(o.tickets) FILTER (WHERE o.chosen IS NOT NULL) AS assigned
            FROM owned AS o
            GROUP BY o.connection_id, o.source_id
        ) AS o
        LEFT JOIN public.pancake_source AS s ON s.connection_id = o.connection_id AND s.pancake_source_id = o.source_id
        LEFT JOIN LATERAL (
            SELECT s.id WHERE EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.source_id = s.id AND a.is_active)
        ) AS r ON true
        CROSS JOIN LATERAL (
            SELECT
                max(a.assigned_count::double precision / a.weight) - min(a.assigned_count::double precision / a.weight) AS spread,
                (
                    SELECT CASE WHEN p.former_owner = 'on' OR p.recall_after_minutes > 0 THEN p.max_tickets_ahead ELSE 1 END
                    FROM public.view_pancake_setting AS p
                )::double precision / min(a.weight) AS bound
            FROM public.pancake_assignee AS a
            WHERE a.source_id IS NOT DISTINCT FROM r.id AND a.is_active AND a.was_available
        ) AS f
    ), member AS (
        SELECT r.connection_id, r.source_id, a.staff_id::text AS owner, a.weight
        FROM roster AS r
        JOIN public.pancake_assignee AS a ON a.source_id IS NOT DISTINCT FROM r.id AND a.is_active
    )
    SELECT
        c.name, r.source_id, r.name, (SELECT f.full_name FROM public.staff AS f WHERE f.id::text = w.owner),
        coalesce(o.tickets, 0), coalesce(o.tickets, 0)::double precision / nullif(r.assigned, 0)::double precision,
        coalesce(o.changed, 0), m.weight, r.spread, r.bound
    FROM roster AS r
    JOIN public.pancake_connection AS c ON c.id = r.connection_id
    JOIN LATERAL (
        SELECT o.chosen AS owner FROM owned AS o
        WHERE o.connection_id = r.connection_id AND o.source_id = r.source_id AND o.chosen IS NOT NULL
        UNION
        SELECT m.owner FROM member AS m WHERE m.connection_id = r.connection_id AND m.source_id = r.source_id
    ) AS w ON true
    LEFT JOIN owned AS o ON o.connection_id = r.connection_id AND o.source_id = r.source_id AND o.chosen = w.owner
    LEFT JOIN member AS m ON m.connection_id = r.connection_id AND m.source_id = r.source_id AND m.owner = w.owner
$$;

CREATE VIEW public.view_pancake_report_source AS
SELECT
    w.week, r.connection, r.source_id, r.source, r.leads, r.tickets, r.held, r.no_phone, r.missed_by_webhook, r.unassigned, r.changed,
    r.unanswered, r.response_p50_minutes, r.response_p95_minutes, r.response_p50_business_minutes, r.response_p95_business_minutes
FROM public.pancake_report_week() AS w
CROSS JOIN LATERAL public.pancake_report_source(w.since, w.until) AS r;

CREATE VIEW public.view_pancake_report_owner AS
SELECT w.week, r.connection, r.source_id, r.source, r.owner, r.tickets, r.share, r.changed, r.weight, r.spread, r.bound
FROM public.pancake_report_week() AS w
CROSS JOIN LATERAL public.pancake_report_owner(w.since, w.until) AS r;

COMMENT ON VIEW public.view_pancake_report_source IS 'The report for managers by week: one row for each source, and one for all of them without connection and source';
COMMENT ON VIEW public.view_pancake_report_owner IS 'The report for managers by week: one row for each source and each owner or active member of its roster';
COMMENT ON COLUMN public.view_pancake_report_source.week IS 'The Monday on which the week begins in Vietnam';
COMMENT ON COLUMN public.view_pancake_report_source.connection IS 'The name of the connection; null is the sum of all';
COMMENT ON COLUMN public.view_pancake_report_source.source_id IS 'Pancake id of the source';
COMMENT ON COLUMN public.view_pancake_report_source.source IS 'The name of the source';
COMMENT ON COLUMN public.view_pancake_report_source.leads IS 'Leads that arrived';
COMMENT ON COLUMN public.view_pancake_report_source.tickets IS 'Tickets created';
COMMENT ON COLUMN public.view_pancake_report_source.held IS 'Leads that are held and have no ticket';
COMMENT ON COLUMN public.view_pancake_report_source.no_phone IS 'Leads without a usable phone';
COMMENT ON COLUMN public.view_pancake_report_source.missed_by_webhook IS 'Leads that polling or reconciliation found first';
COMMENT ON COLUMN public.view_pancake_report_source.unassigned IS 'Tickets for which no owner was chosen up to now';
COMMENT ON COLUMN public.view_pancake_report_source.changed IS 'Tickets whose owner a person changed';
COMMENT ON COLUMN public.view_pancake_report_source.unanswered IS 'Tickets without a first response';
COMMENT ON COLUMN public.view_pancake_report_source.response_p50_minutes IS 'Median of the minutes to the first response, by the clock';
COMMENT ON COLUMN public.view_pancake_report_source.response_p95_minutes IS '95th percentile of the minutes to the first response, by the clock';
COMMENT ON COLUMN public.view_pancake_report_source.response_p50_business_minutes IS 'The median in business minutes';
COMMENT ON COLUMN public.view_pancake_report_source.response_p95_business_minutes IS 'The 95th percentile in business minutes';
COMMENT ON COLUMN public.view_pancake_report_owner.week IS 'The Monday on which the week begins in Vietnam';
COMMENT ON COLUMN public.view_pancake_report_owner.connection IS 'The name of the connection; null is the sum of all';
COMMENT ON COLUMN public.view_pancake_report_owner.source_id IS 'Pancake id of the source';
COMMENT ON COLUMN public.view_pancake_report_owner.source IS 'The name of the source';
COMMENT ON COLUMN public.view_pancake_report_owner.owner IS 'The name of the owner that was chosen';
COMMENT ON COLUMN public.view_pancake_report_owner.tickets IS 'Tickets of the source that the owner was chosen for';
COMMENT ON COLUMN public.view_pancake_report_owner.share IS 'Its part of the tickets of the source, from 0 to 1';
COMMENT ON COLUMN public.view_pancake_report_owner.changed IS 'Those of them whose owner a person changed';
COMMENT ON COLUMN public.view_pancake_report_owner.weight IS 'The weight in the roster; null outside of it';
COMMENT ON COLUMN public.view_pancake_report_owner.spread IS 'Largest difference of tickets by weight between available members at the last choice';
COMMENT ON COLUMN public.view_pancake_report_owner.bound IS 'The most that this difference can be';
COMMENT ON FUNCTION public.pancake_created_ticket(timestamptz, timestamptz) IS 'The tickets that events of a period created, with their chosen owner and response';
COMMENT ON FUNCTION public.pancake_report_source(timestamptz, timestamptz) IS 'The report for managers by source';
COMMENT ON FUNCTION public.pancake_report_owner(timestamptz, timestamptz) IS 'The report for managers by owner';
