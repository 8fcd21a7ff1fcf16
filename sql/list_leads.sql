-- name: list_leads/list_names
-- List the names of staff and of sources, for leads/domain/lead_list.py, which compares them.
-- Returns rows: kind (owner or source), id, key (the id that people know), name. Reads two small tables whole.
SELECT 'owner' AS kind, s.id::text AS id, s.id::text AS key, s.full_name AS name
FROM public.staff AS s
UNION ALL
SELECT 'source' AS kind, p.id::text AS id, p.pancake_source_id AS key, coalesce(p.name, '') AS name
FROM public.pancake_source AS p

-- name: list_leads/list_leads
-- List the leads that count in a figure of the report of a period, those of `owners` or of `source` (its id of Pancake) and `sources`
-- alone if the owner or the source is given, the oldest first.
-- Returns one row: figure, from, to, count (of all), leads (a JSON array of at most `limit`), made_by_hand (tickets of the period that
-- people made for a phone that a lead had within three days). Relies on ix_pancake_webhook_event_created_at,
-- ix_pancake_webhook_event_ticket, account_normalized_phone_idx, the primary key of Diva's ticket table and its index on ticket (account_id).
WITH found AS (
    SELECT
        r.event_id, r.arrived_at, r.reason, r.figures, n.name AS connection, coalesce(p.name, r.source_id) AS source, e.record_id,
        coalesce(e.normalized_phone, left(coalesce(e.payload ->> 'phone_number', e.payload #>> '{data,phone_number}'), 40)) AS phone,
        coalesce(
            -- The evidence of an erased customer has no phone: then the account is Diva's alone.
            (SELECT a.display_name FROM public.account AS a WHERE a.id = e.account_id AND e.evidence ? 'phone'),
            left(coalesce(e.payload ->> 'name', e.payload #>> '{data,name}'), 100)
        ) AS customer,
        t.code, t.status, t.created_at, t.first_response_at, s.full_name AS owner,
        e.status = 'dead_letter' AND e.error_code = 'invalid_phone' AS can_be_corrected
    FROM public.pancake_report_row(%(from)s, %(to)s) AS r
    JOIN public.pancake_webhook_event AS e ON e.id = r.event_id
    JOIN public.pancake_connection AS n ON n.id = r.connection_id
    LEFT JOIN public.pancake_source AS p ON p.connection_id = r.connection_id AND p.pancake_source_id = r.source_id
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    LEFT JOIN LATERAL (
        SELECT k.code, k.status, k.created_at, k.first_response_at, k.assignee_id FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t ON true
    LEFT JOIN public.staff AS s ON s.id = t.assignee_id
    WHERE
        %(figure)s = ANY (r.figures)
        AND (%(owner)s::text IS NULL OR s.id = ANY (%(owners)s::uuid[]))
        AND (%(source)s::text IS NULL OR r.source_id = %(source)s OR p.id = ANY (%(sources)s::uuid[]))
), shown AS (
    SELECT * FROM found AS f ORDER BY f.arrived_at, f.event_id LIMIT %(limit)s
), phone AS (
    SELECT e.normalized_phone, e.created_at
    FROM public.pancake_webhook_event AS e
    WHERE
        e.created_at >= %(from)s::timestamptz - interval '3 days' AND e.created_at < %(to)s::timestamptz + interval '3 days'
        AND e.normalized_phone IS NOT NULL AND public.pancake_record_table(e.table_name) = 'lead'
)
SELECT
    %(figure)s::text AS figure, to_jsonb(%(from)s::timestamptz) #>> '{}' AS "from", to_jsonb(%(to)s::timestamptz) #>> '{}' AS "to",
    (SELECT count(*) FROM found) AS count,
    (
        SELECT count(DISTINCT t.id)
        FROM phone AS p
        JOIN public.account AS a ON a.normalized_phone = p.normalized_phone AND a.deleted_at IS NULL
        CROSS JOIN LATERAL (
            SELECT k.id, k.created_at, k.data FROM public.ticket AS k WHERE k.account_id = a.id OFFSET 0
        ) AS t
        WHERE
            t.created_at >= %(from)s AND t.created_at < %(to)s
            AND t.created_at BETWEEN p.created_at - interval '3 days' AND p.created_at + interval '3 days'
            -- Not by its source, which a person may choose too.
            AND NOT coalesce(t.data ? 'pancake', false) AND NOT EXISTS (SELECT FROM public.pancake_webhook_event AS w WHERE w.ticket_id = t.id)
    ) AS made_by_hand,
    coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'event_id', s.event_id, 'arrived_at', s.arrived_at, 'connection', s.connection, 'record_id', s.record_id, 'source', s.source,
            'phone', s.phone, 'customer', s.customer, 'owner', s.owner, 'ticket', s.code, 'ticket_status', s.status,
            'ticket_created_at', s.created_at, 'first_response_at', s.first_response_at, 'reason', s.reason, 'figures', s.figures,
            'can_be_corrected', s.can_be_corrected
        ) ORDER BY s.arrived_at, s.event_id)
        FROM shown AS s
    ), '[]') AS leads
