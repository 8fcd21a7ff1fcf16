-- Say once whose fault an error is, and count the report for managers from rows: each figure is the number of rows that name it, so
-- that the sums close, and so that `leads list` shows the leads of a figure.
-- Anchor: the functions and views of 1777870069931. The views keep their columns and get new ones at their end.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Whose fault a dead letter is, by its error code: the only table of it.
-- `lead`: what is typed in Pancake, which a person can correct. `sender`: a body that Pancake must not send. `none`: no lead was to be
-- made of it. `integration`: everything else, codes that are not listed too.
CREATE OR REPLACE FUNCTION public.pancake_error_fault(error_code text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE error_code
        WHEN 'invalid_phone' THEN 'lead'
        WHEN 'invalid_json' THEN 'sender'
        WHEN 'missing_record_id' THEN 'sender'
        WHEN 'too_deep' THEN 'sender'
        WHEN 'too_large' THEN 'sender'
        WHEN 'unstorable' THEN 'sender'
        WHEN 'erased' THEN 'none'
        WHEN 'invalid_payload' THEN 'none'
        WHEN 'test_ping' THEN 'none'
        ELSE 'integration'
    END
$$;

-- Whether a dead letter is one because of what it holds: there is nothing to mend.
CREATE OR REPLACE FUNCTION public.pancake_event_is_invalid(error_code text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT public.pancake_error_fault(error_code) <> 'integration'
$$;

-- The tickets that events of a period created, for the figures and the report: the owner that the integration chose, at once or
-- later, and the one that the ticket has now. An unanswered ticket has its age at the end of the period as its minutes; a ticket that
-- was closed without a response too.
-- Only statements of the integration and the report call it.
-- squawk-ignore ban-drop-function
DROP FUNCTION public.pancake_created_ticket(timestamptz, timestamptz);
CREATE FUNCTION public.pancake_created_ticket(since timestamptz, until timestamptz)
    RETURNS TABLE (
        event_id bigint, ticket_id uuid, connection_id uuid, source_id text, chosen text, owner text, is_correct boolean,
        is_changed boolean, is_unanswered boolean, is_open boolean, created_at timestamptz, minutes double precision,
        business_minutes double precision
    )
    LANGUAGE sql STABLE
    AS $$
    -- The planner would check the settings against their rules for each ticket.
    WITH s AS MATERIALIZED (SELECT g.business_hours, g.holidays FROM public.view_pancake_setting AS g)
    SELECT
        m.event_id, m.ticket_id, m.connection_id, m.source_id, m.chosen, m.owner, m.chosen = m.owner, m.chosen IS DISTINCT FROM m.owner,
        m.is_unanswered, m.is_open, m.created_at, extract(epoch FROM m.ended_at - m.created_at)::double precision / 60,
        public.pancake_business_minutes(m.created_at, m.ended_at, s.business_hours, s.holidays)
    FROM (
        SELECT
            e.id AS event_id, e.ticket_id, e.connection_id, coalesce(e.source_ids[1], '(none)') AS source_id,
            e.evidence -> 'assignment' ->> 'chosen' AS chosen, t.assignee_id::text AS owner, t.first_response_at IS NULL AS is_unanswered,
            public.pancake_ticket_is_open(t.status) AS is_open, t.created_at,
            coalesce(t.first_response_at, greatest(until, t.created_at)) AS ended_at
        FROM public.pancake_webhook_event AS e
        -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
        CROSS JOIN LATERAL (
            SELECT k.assignee_id, k.first_response_at, k.created_at, k.status FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
        ) AS t
        WHERE e.created_at >= since AND e.created_at < until AND e.outcome = 'ticket_created'
    ) AS m
    CROSS JOIN s
$$;

-- What the report counts: one row for the first version of each lead in a period, for each event that created a ticket, and for each
-- that needs a person because it could not be processed. `figures` are the names of the figures in which the row counts, those of the
-- columns of view_pancake_report_source. These sums close:
-- leads = new_tickets + joined + updated + held + bad_phone + no_phone + other
-- tickets = new_tickets + later_tickets = kept + changed + by_hand + unassigned = answered + unanswered + closed_unanswered
-- A lead has the class of its first version in the period, and counts for the source that this one names first. It was updated if a
-- version of it was applied before the period, else it joined the open ticket of its customer. `reason` says what holds it, why it
-- failed, or its result.
CREATE OR REPLACE FUNCTION public.pancake_report_row(since timestamptz, until timestamptz)
    RETURNS TABLE (
        event_id bigint, connection_id uuid, record_id text, source_id text, arrived_at timestamptz, reason text, ticket_id uuid,
        owner text, ticket_created_at timestamptz, minutes double precision, business_minutes double precision, figures text[]
    )
    LANGUAGE sql STABLE
    AS $$
    WITH arrived AS (
        SELECT
            e.id, e.connection_id, e.record_id, coalesce(e.source_ids[1], '(none)') AS source_id, e.created_at, e.origin, e.status,
            e.outcome, e.error_code, e.evidence,
            e.record_id IS NOT NULL AND row_number() OVER (PARTITION BY e.connection_id, e.record_id ORDER BY e.id) = 1 AS is_first
        FROM public.pancake_webhook_event AS e
        WHERE e.created_at >= since AND e.created_at < until AND public.pancake_record_table(e.table_name) = 'lead'
    ), classified AS (
        SELECT
            a.*, t.event_id IS NOT NULL AS is_ticket, t.ticket_id, t.chosen, t.owner, t.is_changed, t.is_unanswered, t.is_open,
            t.created_at AS ticket_created_at, t.minutes, t.business_minutes,
            CASE
                WHEN NOT a.is_first THEN NULL
                WHEN t.event_id IS NOT NULL THEN 'new_tickets'
                WHEN public.pancake_event_is_held(a.status) THEN 'held'
                WHEN a.status = 'dead_letter' AND public.pancake_error_fault(a.error_code) = 'lead'
                    THEN CASE WHEN a.evidence #>> '{error,no_phone}' = 'true' THEN 'no_phone' ELSE 'bad_phone' END
                WHEN a.status <> 'processed' OR a.outcome IN ('record_deleted', 'ticket_created') THEN 'other'
                WHEN EXISTS (
                    SELECT FROM public.pancake_webhook_event AS f
                    WHERE
                        f.record_id = a.record_id AND f.connection_id = a.connection_id AND f.id < a.id AND f.applied_at IS NOT NULL
                        AND public.pancake_record_table(f.table_name) = 'lead'
                ) THEN 'updated'
                WHEN a.outcome = 'ticket_updated' THEN 'joined'
                ELSE 'other'
            END AS class,
            (a.status = 'failed' OR a.status = 'dead_letter' AND public.pancake_error_fault(a.error_code) <> 'none') AND NOT EXISTS (
                SELECT FROM public.pancake_webhook_event AS f
                WHERE
                    f.record_id = a.record_id AND f.connection_id = a.connection_id AND f.id > a.id
                    AND public.pancake_record_table(f.table_name) = 'lead'
            ) AS is_broken
        FROM arrived AS a
        LEFT JOIN public.pancake_created_ticket(since, until) AS t ON t.event_id = a.id
    ), named AS (
        SELECT
            c.*,
            CASE
                WHEN c.status = 'skipped_kill_switch' THEN 'kill_switch'
                WHEN public.pancake_event_is_held(c.status) THEN coalesce(c.evidence ->> 'held_by', 'source_inactive')
                WHEN c.status IN ('failed', 'dead_letter') THEN c.error_code
                WHEN c.status <> 'processed' THEN c.status
                WHEN c.outcome = 'ticket_created' AND NOT c.is_ticket THEN 'ticket_deleted'
                ELSE c.outcome
            END AS reason,
            array_remove(
                ARRAY[
                    CASE WHEN c.is_first THEN 'leads' END,
                    c.class,
                    CASE WHEN c.class IS DISTINCT FROM 'held' THEN NULL
                        WHEN c.status = 'skipped_kill_switch' THEN 'held_by_kill_switch'
                        WHEN c.evidence ->> 'held_by' = 'connection_disabled' THEN 'held_by_connection'
                        ELSE 'held_by_source'
                    END,
                    CASE WHEN c.is_first AND c.origin <> 'webhook' THEN 'missed_by_webhook' END,
                    CASE WHEN c.is_broken THEN 'broken' END
                ] || CASE WHEN c.is_ticket THEN ARRAY[
                    'tickets',
                    CASE WHEN NOT c.is_first THEN 'later_tickets' END,
                    CASE
                        WHEN c.owner IS NULL THEN 'unassigned' WHEN c.chosen IS NULL THEN 'by_hand' WHEN c.is_changed THEN 'changed'
                        ELSE 'kept'
                    END,
                    CASE WHEN NOT c.is_unanswered THEN 'answered' WHEN c.is_open THEN 'unanswered' ELSE 'closed_unanswered' END
                ] END,
                NULL
            ) AS figures
        FROM classified AS c
    )
    SELECT
        n.id, n.connection_id, n.record_id, n.source_id, n.created_at, n.reason, n.ticket_id, n.owner, n.ticket_created_at, n.minutes,
        n.business_minutes, n.figures
    FROM named AS n
    WHERE n.figures <> '{}'
$$;

-- The report for managers: one row for each source, and one for all of them without connection and source. Response times are those
-- of the answered tickets.
-- The view keeps its columns, and so its rights: it changes from the former function to the new one.
-- squawk-ignore renaming-object
ALTER FUNCTION public.pancake_report_source(timestamptz, timestamptz) RENAME TO pancake_report_source_former;
CREATE FUNCTION public.pancake_report_source(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection text, source_id text, source text, leads bigint, tickets bigint, held bigint, no_phone bigint,
        missed_by_webhook bigint, unassigned bigint, changed bigint, unanswered bigint, response_p50_minutes double precision,
        response_p95_minutes double precision, response_p50_business_minutes double precision,
        response_p95_business_minutes double precision, new_tickets bigint, joined bigint, updated bigint, bad_phone bigint,
        other bigint, later_tickets bigint, kept bigint, by_hand bigint, answered bigint, closed_unanswered bigint, broken bigint,
        held_by_kill_switch bigint, held_by_connection bigint, held_by_source bigint, oldest_unanswered_at timestamptz
    )
    LANGUAGE sql STABLE
    AS $$
    SELECT
        c.name, n.source_id,
        (SELECT s.name FROM public.pancake_source AS s WHERE s.connection_id = c.id AND s.pancake_source_id = n.source_id),
        n.leads, n.tickets, n.held, n.no_phone, n.missed_by_webhook, n.unassigned, n.changed, n.unanswered, n.minutes[1], n.minutes[2],
        n.business_minutes[1], n.business_minutes[2], n.new_tickets, n.joined, n.updated, n.bad_phone, n.other, n.later_tickets,
        n.kept, n.by_hand, n.answered, n.closed_unanswered, n.broken, n.held_by_kill_switch, n.held_by_connection,
        n.held_by_source, n.oldest_unanswered_at
    FROM (
        SELECT
            r.connection_id, r.source_id,
            count(*) FILTER (WHERE 'leads' = ANY (r.figures)) AS leads,
            count(*) FILTER (WHERE 'new_tickets' = ANY (r.figures)) AS new_tickets,
            count(*) FILTER (WHERE 'joined' = ANY (r.figures)) AS joined,
            count(*) FILTER (WHERE 'updated' = ANY (r.figures)) AS updated,
            count(*) FILTER (WHERE 'held' = ANY (r.figures)) AS held,
            count(*) FILTER (WHERE 'held_by_kill_switch' = ANY (r.figures)) AS held_by_kill_switch,
            count(*) FILTER (WHERE 'held_by_connection' = ANY (r.figures)) AS held_by_connection,
            count(*) FILTER (WHERE 'held_by_source' = ANY (r.figures)) AS held_by_source,
            count(*) FILTER (WHERE 'bad_phone' = ANY (r.figures)) AS bad_phone,
            count(*) FILTER (WHERE 'no_phone' = ANY (r.figures)) AS no_phone,
            count(*) FILTER (WHERE 'other' = ANY (r.figures)) AS other,
            count(*) FILTER (WHERE 'missed_by_webhook' = ANY (r.figures)) AS missed_by_webhook,
            count(*) FILTER (WHERE 'broken' = ANY (r.figures)) AS broken,
            count(*) FILTER (WHERE 'tickets' = ANY (r.figures)) AS tickets,
            count(*) FILTER (WHERE 'later_tickets' = ANY (r.figures)) AS later_tickets,
            count(*) FILTER (WHERE 'kept' = ANY (r.figures)) AS kept,
            count(*) FILTER (WHERE 'changed' = ANY (r.figures)) AS changed,
            count(*) FILTER (WHERE 'by_hand' = ANY (r.figures)) AS by_hand,
            count(*) FILTER (WHERE 'unassigned' = ANY (r.figures)) AS unassigned,
            count(*) FILTER (WHERE 'answered' = ANY (r.figures)) AS answered,
            count(*) FILTER (WHERE 'unanswered' = ANY (r.figures)) AS unanswered,
            count(*) FILTER (WHERE 'closed_unanswered' = ANY (r.figures)) AS closed_unanswered,
            min(r.ticket_created_at) FILTER (WHERE 'unanswered' = ANY (r.figures)) AS oldest_unanswered_at,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY r.minutes) FILTER (WHERE 'answered' = ANY (r.figures)) AS minutes,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY r.business_minutes)
                FILTER (WHERE 'answered' = ANY (r.figures)) AS business_minutes
        FROM public.pancake_report_row(since, until) AS r
        GROUP BY GROUPING SETS ((r.connection_id, r.source_id), ())
    ) AS n
    LEFT JOIN public.pancake_connection AS c ON c.id = n.connection_id
$$;

-- Who has the tickets of the period now: one row for each source and each owner, for each active member of its roster, and, without
-- connection and source, for each owner over all sources. A ticket that a person assigned counts for its owner, as `by_hand`;
-- `changed` are those that the owner has and another was chosen for. With the unassigned ones the tickets of all owners are those of
-- the source. `spread` is the largest difference of assigned_count / weight between the members that were available at the
-- roster's last choice, `bound` what round robin guarantees for it: 1 / the lowest weight, or as many tickets as a member may be ahead
-- if former owners or recalls go before turns.
-- The view keeps its columns, and so its rights: it changes from the former function to the new one.
-- squawk-ignore renaming-object
ALTER FUNCTION public.pancake_report_owner(timestamptz, timestamptz) RENAME TO pancake_report_owner_former;
CREATE FUNCTION public.pancake_report_owner(since timestamptz, until timestamptz)
    RETURNS TABLE (
        connection text, source_id text, source text, owner text, tickets bigint, share double precision, changed bigint,
        weight integer, spread double precision, bound double precision, owner_id text, by_hand bigint, unanswered bigint
    )
    LANGUAGE sql STABLE
    AS $$
    WITH owned AS MATERIALIZED (
        SELECT
            r.connection_id, r.source_id, r.owner, count(*) AS tickets,
            count(*) FILTER (WHERE 'changed' = ANY (r.figures)) AS changed,
            count(*) FILTER (WHERE 'by_hand' = ANY (r.figures)) AS by_hand,
            count(*) FILTER (WHERE 'unanswered' = ANY (r.figures)) AS unanswered
        FROM public.pancake_report_row(since, until) AS r
        WHERE 'tickets' = ANY (r.figures)
        GROUP BY GROUPING SETS ((r.connection_id, r.source_id, r.owner), (r.owner))
    ), roster AS (
        SELECT o.connection_id, o.source_id, s.name, o.assigned, r.id, f.spread, f.bound
        FROM (
            SELECT o.connection_id, o.source_id, sum(o.tickets) FILTER (WHERE o.owner IS NOT NULL) AS assigned
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
            WHERE a.source_id IS NOT DISTINCT FROM r.id AND a.is_active AND a.was_available AND o.connection_id IS NOT NULL
        ) AS f
    ), member AS (
        SELECT r.connection_id, r.source_id, a.staff_id::text AS owner, a.weight
        FROM roster AS r
        JOIN public.pancake_assignee AS a ON a.source_id IS NOT DISTINCT FROM r.id AND a.is_active
        WHERE r.connection_id IS NOT NULL
    )
    SELECT
        c.name, r.source_id, r.name, (SELECT f.full_name FROM public.staff AS f WHERE f.id::text = w.owner),
        coalesce(o.tickets, 0), coalesce(o.tickets, 0)::double precision / nullif(r.assigned, 0)::double precision,
        coalesce(o.changed, 0), m.weight, r.spread, r.bound, w.owner, coalesce(o.by_hand, 0), coalesce(o.unanswered, 0)
    FROM roster AS r
    LEFT JOIN public.pancake_connection AS c ON c.id = r.connection_id
    JOIN LATERAL (
        SELECT o.owner FROM owned AS o
        WHERE o.connection_id IS NOT DISTINCT FROM r.connection_id AND o.source_id IS NOT DISTINCT FROM r.source_id AND o.owner IS NOT NULL
        UNION
        SELECT m.owner FROM member AS m WHERE m.connection_id = r.connection_id AND m.source_id = r.source_id
    ) AS w ON true
    LEFT JOIN owned AS o
        ON o.connection_id IS NOT DISTINCT FROM r.connection_id AND o.source_id IS NOT DISTINCT FROM r.source_id AND o.owner = w.owner
    LEFT JOIN member AS m ON m.connection_id = r.connection_id AND m.source_id = r.source_id AND m.owner = w.owner
$$;

CREATE OR REPLACE VIEW public.view_pancake_report_source AS
SELECT
    w.week, r.connection, r.source_id, r.source, r.leads, r.tickets, r.held, r.no_phone, r.missed_by_webhook, r.unassigned, r.changed,
    r.unanswered, r.response_p50_minutes, r.response_p95_minutes, r.response_p50_business_minutes, r.response_p95_business_minutes,
    r.new_tickets, r.joined, r.updated, r.bad_phone, r.other, r.later_tickets, r.kept, r.by_hand, r.answered, r.closed_unanswered,
    r.broken, r.held_by_kill_switch, r.held_by_connection, r.held_by_source, r.oldest_unanswered_at
FROM public.pancake_report_week() AS w
CROSS JOIN LATERAL public.pancake_report_source(w.since, w.until) AS r;

CREATE OR REPLACE VIEW public.view_pancake_report_owner AS
SELECT
    w.week, r.connection, r.source_id, r.source, r.owner, r.tickets, r.share, r.changed, r.weight, r.spread, r.bound, r.owner_id,
    r.by_hand, r.unanswered
FROM public.pancake_report_week() AS w
CROSS JOIN LATERAL public.pancake_report_owner(w.since, w.until) AS r;

-- squawk-ignore ban-drop-function
DROP FUNCTION public.pancake_report_source_former(timestamptz, timestamptz);
-- squawk-ignore ban-drop-function
DROP FUNCTION public.pancake_report_owner_former(timestamptz, timestamptz);

COMMENT ON FUNCTION public.pancake_error_fault(text) IS 'Whose fault an error is: lead, sender, none or integration';
COMMENT ON FUNCTION public.pancake_created_ticket(timestamptz, timestamptz) IS 'The tickets that events of a period created, with their chosen owner and response';
COMMENT ON FUNCTION public.pancake_report_row(timestamptz, timestamptz) IS 'What the report of a period counts, with the figures in which each row counts';
COMMENT ON FUNCTION public.pancake_report_source(timestamptz, timestamptz) IS 'The report for managers by source';
COMMENT ON FUNCTION public.pancake_report_owner(timestamptz, timestamptz) IS 'The report for managers by owner';
COMMENT ON VIEW public.view_pancake_report_owner IS 'The report for managers by week: one row for each source and each owner or active member of its roster, and for each owner over all sources';
COMMENT ON COLUMN public.view_pancake_report_source.leads IS 'Leads that arrived: new_tickets + joined + updated + held + bad_phone + no_phone + other';
COMMENT ON COLUMN public.view_pancake_report_source.tickets IS 'Tickets created: new_tickets + later_tickets, and kept + changed + by_hand + unassigned, and answered + unanswered + closed_unanswered';
COMMENT ON COLUMN public.view_pancake_report_source.held IS 'Leads whose first version is held: held_by_kill_switch + held_by_connection + held_by_source';
COMMENT ON COLUMN public.view_pancake_report_source.no_phone IS 'Leads in which no phone is typed';
COMMENT ON COLUMN public.view_pancake_report_source.unassigned IS 'Tickets that have no owner now';
COMMENT ON COLUMN public.view_pancake_report_source.changed IS 'Tickets that have another owner now than the one chosen';
COMMENT ON COLUMN public.view_pancake_report_source.unanswered IS 'Open tickets without a first response';
COMMENT ON COLUMN public.view_pancake_report_source.response_p50_minutes IS 'Median of the minutes to the first response of answered tickets, by the clock';
COMMENT ON COLUMN public.view_pancake_report_source.response_p95_minutes IS '95th percentile of the minutes to the first response of answered tickets, by the clock';
COMMENT ON COLUMN public.view_pancake_report_source.new_tickets IS 'Leads whose first version made a ticket';
COMMENT ON COLUMN public.view_pancake_report_source.joined IS 'New leads of a customer who had an open ticket';
COMMENT ON COLUMN public.view_pancake_report_source.updated IS 'Leads that were applied before the period';
COMMENT ON COLUMN public.view_pancake_report_source.bad_phone IS 'Leads whose phones cannot be read';
COMMENT ON COLUMN public.view_pancake_report_source.other IS 'Leads that wait, failed, were deleted or erased, or whose ticket was deleted';
COMMENT ON COLUMN public.view_pancake_report_source.later_tickets IS 'Tickets made by a later version of a lead than its first one of the period';
COMMENT ON COLUMN public.view_pancake_report_source.kept IS 'Tickets that have the owner who was chosen';
COMMENT ON COLUMN public.view_pancake_report_source.by_hand IS 'Tickets that a person gave an owner, because none was chosen';
COMMENT ON COLUMN public.view_pancake_report_source.answered IS 'Tickets with a first response';
COMMENT ON COLUMN public.view_pancake_report_source.closed_unanswered IS 'Tickets that were closed without a first response';
COMMENT ON COLUMN public.view_pancake_report_source.broken IS 'Versions that could not be processed and are the newest of their record: somebody has to look';
COMMENT ON COLUMN public.view_pancake_report_source.held_by_kill_switch IS 'Those held by the kill switch';
COMMENT ON COLUMN public.view_pancake_report_source.held_by_connection IS 'Those held because their connection is disabled';
COMMENT ON COLUMN public.view_pancake_report_source.held_by_source IS 'Those held because none of their sources is active';
COMMENT ON COLUMN public.view_pancake_report_source.oldest_unanswered_at IS 'When the oldest of the unanswered tickets was created';
COMMENT ON COLUMN public.view_pancake_report_owner.connection IS 'The name of the connection; null is the sum of all';
COMMENT ON COLUMN public.view_pancake_report_owner.owner IS 'The name of the present owner';
COMMENT ON COLUMN public.view_pancake_report_owner.tickets IS 'Tickets of the source that the owner has now';
COMMENT ON COLUMN public.view_pancake_report_owner.share IS 'Its part of the tickets of the source that have an owner, from 0 to 1';
COMMENT ON COLUMN public.view_pancake_report_owner.changed IS 'Those of them for which another owner was chosen';
COMMENT ON COLUMN public.view_pancake_report_owner.owner_id IS 'The id of the present owner';
COMMENT ON COLUMN public.view_pancake_report_owner.by_hand IS 'Those of them that a person gave the owner, because none was chosen';
COMMENT ON COLUMN public.view_pancake_report_owner.unanswered IS 'Those of them that are open without a first response';
