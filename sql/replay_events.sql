-- name: replay_events/find_rows
-- Find the events that a replay request selects: those that can be replayed, and the first 100 of the others with the reason.
-- `sources` are the ids of the sources that are meant, null for all.
-- Returns one row: ids, refused (JSON array of {event_id, reason}), switched_on, events_per_second.
-- Relies on pk_pancake_webhook_event, ix_pancake_webhook_event_held, ix_pancake_webhook_event_retry,
-- ix_pancake_webhook_event_created_at.
WITH found AS (
    SELECT
        e.id, e.connection_id,
        CASE
            WHEN public.pancake_event_is_waiting(e.status) THEN 'under_way'
            WHEN e.record_id IS NULL THEN 'no_record_id'
            WHEN e.payload IS NULL THEN 'payload_purged'
            WHEN %(corrected)s AND (e.status <> 'dead_letter' OR e.error_code <> 'invalid_phone') THEN 'not_invalid_phone'
            WHEN e.status = 'skipped_source_disabled' AND NOT EXISTS (
                SELECT FROM public.pancake_active_source(e.connection_id, e.source_ids)
            ) THEN 'source_disabled'
        END AS refusal
    FROM public.pancake_webhook_event AS e
    WHERE
        CASE WHEN %(ids)s::bigint[] IS NULL THEN e.status = ANY (%(states)s) ELSE e.id = ANY (%(ids)s::bigint[]) END
        AND (%(error_code)s::text IS NULL OR e.error_code = %(error_code)s)
        AND (%(created_from)s::timestamptz IS NULL OR e.created_at >= %(created_from)s)
        AND (%(created_to)s::timestamptz IS NULL OR e.created_at < %(created_to)s)
        AND (%(sources)s::uuid[] IS NULL OR EXISTS (
            SELECT FROM public.pancake_source AS p
            WHERE
                p.connection_id = e.connection_id
                AND p.pancake_source_id = ANY (e.source_ids)
                AND p.id = ANY (%(sources)s::uuid[])
        ))
    ORDER BY e.id
    LIMIT %(most)s
)
SELECT
    -- The connections in turn: a long list of one does not keep another waiting.
    ARRAY(
        SELECT f.id
        FROM found AS f
        WHERE f.refusal IS NULL
        ORDER BY row_number() OVER (PARTITION BY f.connection_id ORDER BY f.id), f.id
    ) AS ids,
    (
        SELECT COALESCE(jsonb_agg(jsonb_build_object('event_id', r.id, 'reason', r.refusal) ORDER BY r.id), '[]')
        FROM (SELECT f.id, f.refusal FROM found AS f WHERE f.refusal IS NOT NULL ORDER BY f.id LIMIT 100) AS r
    ) AS refused,
    NOT (SELECT w.kill_switch FROM public.view_pancake_setting AS w) AS switched_on,
    (SELECT s.replay_rate_per_second FROM public.view_pancake_setting AS s) AS events_per_second

-- name: replay_events/find_fired
-- Find Hasura's event that this transaction fired for a row, to name it to the person who replayed the row.
-- Returns one row: hasura_event_id, null if there is none. Relies on Hasura's partial index on pending events.
SELECT public.pancake_fired_event_id(%(id)s) AS hasura_event_id

-- name: replay_events/replay_rows
-- Set events to received, unless the kill switch is on; the event trigger then processes them. Rows locked by another session
-- are skipped.
-- Returns one row: switched_on, ids of the changed events. Relies on pk_pancake_webhook_event.
WITH switch AS (
    SELECT NOT w.kill_switch OR public.pancake_is_dry_run() AS switched_on
    FROM public.view_pancake_setting AS w
), taken AS (
    SELECT e.id
    FROM public.pancake_webhook_event AS e
    WHERE
        e.id = ANY (%(ids)s)
        -- || '' keeps the planner on the primary key. With the plain column it takes the index of failed events while the
        -- statistics say that there are none, and reads all of them.
        AND (e.status || '') = ANY (%(states)s)
        AND e.record_id IS NOT NULL
        AND e.payload IS NOT NULL
        AND (SELECT s.switched_on FROM switch AS s)
    ORDER BY e.id
    FOR UPDATE SKIP LOCKED
), replayed AS (
    UPDATE public.pancake_webhook_event AS e
    SET
        status = 'received', replayed_by = %(by)s, replayed_at = %(now)s, replay_count = e.replay_count + 1,
        attempts = 0, next_attempt_at = NULL, evidence = (e.evidence - 'force') || %(evidence)s::jsonb
    FROM taken AS t
    WHERE e.id = t.id
    RETURNING e.id
)
SELECT s.switched_on, ARRAY(SELECT r.id FROM replayed AS r ORDER BY r.id) AS ids
FROM switch AS s

-- name: replay_events/lock_dry_run
-- Lock dry runs against each other, until the transaction ends: two that lock many leads and rosters could deadlock. Until then
-- the kill switch holds nothing of this transaction, which is rolled back: see pancake_is_dry_run.
-- Returns one row. Lock class 5 = dry run.
SELECT pg_advisory_xact_lock(5, 0), set_config('pancake.dry_run', 'on', true)

-- name: replay_events/load_leads
-- Load the fields that identify the leads of events, to take all their locks before any work.
-- Returns one row per event. Relies on pk_pancake_webhook_event.
SELECT
    e.id, e.connection_id, e.record_id, e.table_name, e.modified_on, e.payload::text AS payload,
    e.evidence ->> 'corrected_phone' AS corrected_phone
FROM public.pancake_webhook_event AS e
WHERE e.id = ANY (%(ids)s)
ORDER BY e.id

-- name: replay_events/load_touched
-- Load the rows that a plan writes, with the columns that the integration knows; null for a row that does not exist.
-- Returns one row of JSON objects; roster and other_contacts map ids to their rows.
-- Relies on the primary keys, uq_contact_book_primary_phone, uq_pancake_assignee.
SELECT
    (
        SELECT jsonb_build_object(
            'id', a.id, 'display_name', a.display_name, 'phone_code', a.phone_code, 'phone_number', a.phone_number,
            'phone_enabled', a.phone_enabled, 'normalized_phone', a.normalized_phone, 'pancake_metadata', a.pancake_metadata
        )
        FROM public.account AS a
        WHERE a.id = %(account_id)s::uuid
    ) AS account,
    (
        SELECT jsonb_build_object(
            'id', c.id, 'account_id', c.account_id, 'primary_phone', c.primary_phone, 'name', c.name, 'email', c.email,
            'address', c.address
        )
        FROM public.contact_book AS c
        WHERE c.primary_phone = %(phone)s
    ) AS contact,
    (
        SELECT COALESCE(jsonb_object_agg(c.id, jsonb_build_object(
            'id', c.id, 'account_id', c.account_id, 'primary_phone', c.primary_phone, 'name', c.name, 'email', c.email,
            'address', c.address
        )), '{}')
        FROM public.contact_book AS c
        WHERE c.primary_phone = ANY (%(other_phones)s)
    ) AS other_contacts,
    (
        SELECT jsonb_build_object(
            'id', t.id, 'title', t.title, 'description', t.description, 'source_id', t.source_id,
            'account_id', t.account_id, 'contact_book_id', t.contact_book_id, 'assignee_id', t.assignee_id,
            'status', t.status, 'data', t.data
        )
        FROM public.ticket AS t
        WHERE t.id = %(ticket_id)s::uuid
    ) AS ticket,
    (
        SELECT jsonb_build_object(
            'id', t.id, 'title', t.title, 'description', t.description, 'source_id', t.source_id,
            'account_id', t.account_id, 'contact_book_id', t.contact_book_id, 'assignee_id', t.assignee_id,
            'status', t.status, 'data', t.data
        )
        FROM public.ticket AS t
        WHERE t.id = %(left_ticket_id)s::uuid
    ) AS left_ticket,
    (
        SELECT jsonb_build_object(
            'account_id', s.account_id, 'consent_data', s.consent_data, 'consent_version', s.consent_version
        )
        FROM public.customer_consent AS s
        WHERE s.account_id = %(account_id)s::uuid
    ) AS consent,
    (
        SELECT COALESCE(jsonb_object_agg(r.id, jsonb_build_object(
            'id', r.id, 'source_id', r.source_id, 'staff_id', r.staff_id, 'assigned_count', r.assigned_count,
            'total_assigned', r.total_assigned, 'last_assigned_seq', r.last_assigned_seq, 'was_available', r.was_available,
            'assigned_on', r.assigned_on, 'assigned_today', r.assigned_today
        )), '{}')
        FROM public.pancake_assignee AS r
        WHERE %(choosing)s
            AND (r.source_id = %(roster_source_id)s::uuid OR (%(roster_source_id)s::uuid IS NULL AND r.source_id IS NULL))
    ) AS roster

-- name: replay_events/count_waiting
-- Count those of some events that are not at rest, and say whether processing is paused.
-- Returns one row: events, processing_paused. Relies on pk_pancake_webhook_event.
SELECT
    (
        SELECT count(*)
        FROM public.pancake_webhook_event AS e
        -- || '' keeps the planner on the primary key, as in claim_event.
        WHERE e.id = ANY (%(ids)s) AND public.pancake_event_is_waiting(e.status || '')
    ) AS events,
    w.processing_paused
FROM public.view_pancake_setting AS w

-- name: replay_events/load_results
-- Load the results of replayed events. The outcome of a row is that of the last processing that changed something; the result in
-- its evidence is that of the last one.
-- Returns one row per event, lowest id first: id, status, result, error_code, held_by, ticket_id, owner_id.
-- Relies on pk_pancake_webhook_event.
SELECT
    e.id,
    e.status,
    COALESCE(e.evidence ->> 'result', e.outcome) AS result,
    e.error_code,
    e.evidence ->> 'held_by' AS held_by,
    e.ticket_id::text AS ticket_id,
    e.assignee_id::text AS owner_id
FROM public.pancake_webhook_event AS e
WHERE e.id = ANY (%(ids)s)
ORDER BY e.id
