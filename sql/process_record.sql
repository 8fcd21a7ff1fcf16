-- name: process_record/load_turn
-- Load what decides whether a repeated delivery waits for a turn, before its event is claimed.
-- Returns one row: paused, is_received, events_per_second. Relies on pk_pancake_webhook_event.
SELECT
    s.processing_paused AS paused,
    EXISTS (
        SELECT FROM public.pancake_webhook_event AS e
        -- || '' keeps the planner on the primary key, as in claim_event.
        WHERE e.id = %(id)s AND (e.status || '') = 'received'
    ) AS is_received,
    s.replay_rate_per_second AS events_per_second
FROM public.view_pancake_setting AS s

-- name: process_record/lock_turns
-- Lock the turns of repeated deliveries against those of all processes, until the transaction ends.
-- Returns one row. Lock class 6 = turns; a transaction that takes it takes no other lock.
SELECT pg_advisory_xact_lock(6, 0)

-- name: process_record/claim_event
-- Claim a received event, or one whose claim expired and that has attempts left; or hold it if the kill switch is on or its
-- source is inactive. Commits alone; claim_id then fences the work.
-- Returns one row: paused, and the event's columns, null if there was nothing to claim.
-- Relies on pk_pancake_webhook_event, uq_pancake_source.
WITH switches AS (
    SELECT s.processing_paused AS paused
    FROM public.view_pancake_setting AS s
-- MATERIALIZED: merged into the UPDATE, the search for a source would run once for each column that needs its result.
), gate AS MATERIALIZED (
    SELECT e.id, COALESCE(h.status, 'ingested') AS status
    FROM public.pancake_webhook_event AS e
    CROSS JOIN switches AS w
    CROSS JOIN LATERAL public.pancake_hold_reason(e.connection_id, e.source_ids) AS h
    WHERE e.id = %(id)s AND NOT w.paused
), claimed AS (
    UPDATE public.pancake_webhook_event AS e
    SET
        status = g.status,
        attempts = e.attempts + (g.status = 'ingested')::integer,
        next_attempt_at = NULL,
        ingested_at = CASE WHEN g.status = 'ingested' THEN clock_timestamp() ELSE e.ingested_at END,
        claim_id = CASE WHEN g.status = 'ingested' THEN gen_random_uuid() ELSE e.claim_id END
    FROM gate AS g
    -- || '' keeps the planner on the primary key. With the plain column it takes ix_pancake_webhook_event_waiting while the
    -- statistics say that nothing waits, and reads the whole backlog.
    WHERE
        e.id = g.id
        AND (
            (e.status || '') = 'received'
            OR (e.status || '') = 'ingested' AND e.attempts < %(max_attempts)s AND e.ingested_at < clock_timestamp() - %(lease)s::interval
        )
    RETURNING e.*
)
SELECT
    w.paused, c.id, c.status, c.claim_id, c.connection_id, c.origin, c.record_id, c.table_name, c.modified_on, c.payload::text AS payload,
    c.arrived_at, c.attempts, c.replay_count, c.created_at,
    CASE WHEN c.notified_at IS NULL THEN public.pancake_unsent(c.notifications, c.notify_sent) ELSE '[]' END AS unsent,
    public.pancake_event_was_held_or_replayed(c.held_at, c.replay_count) AS was_held_or_replayed,
    c.evidence ->> 'corrected_phone' AS corrected_phone,
    COALESCE((c.evidence ->> 'force')::boolean, false) AS force
FROM switches AS w
LEFT JOIN claimed AS c ON true

-- name: process_record/load_unclaimed
-- Load an event that a delivery could not claim, and what Hasura's log says of this delivery.
-- Returns one row: status (null: no such event) and what the answer says of the event; claimed_for, how long the claim of an
-- ingested event with attempts left is valid; is_redelivered, is_answered as in pancake_delivery_history. Relies on pk_pancake_webhook_event, uq_pancake_source.
SELECT
    e.status,
    e.outcome,
    e.error_code,
    e.next_attempt_at,
    e.evidence ->> 'held_by' AS held_by,
    t.code::text AS ticket_code,
    e.record_id IS NOT NULL AS has_record,
    e.payload IS NOT NULL AS has_payload,
    EXISTS (SELECT FROM public.pancake_active_source(e.connection_id, e.source_ids)) AS has_active_source,
    NOT w.kill_switch AS switched_on,
    CASE WHEN e.status = 'ingested' AND e.attempts < %(max_attempts)s
        THEN e.ingested_at + %(lease)s::interval - clock_timestamp()
    END AS claimed_for,
    h.is_redelivered,
    h.is_answered
FROM public.view_pancake_setting AS w
CROSS JOIN public.pancake_delivery_history(%(hasura_event_id)s::text, %(tries)s::integer) AS h
LEFT JOIN public.pancake_webhook_event AS e ON e.id = %(id)s
LEFT JOIN public.ticket AS t ON t.id = e.ticket_id

-- name: process_record/set_table
-- Store the table that was found for a claimed event, or note in its evidence that it is not known.
-- Returns nothing; changes nothing if the claim was lost. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    table_name = %(table_name)s,
    evidence = (evidence - 'notes') || CASE
        WHEN %(table_name)s::text IS NULL THEN jsonb_build_object(
            'notes', (coalesce(evidence -> 'notes', '[]') - 'table_unknown') || '["table_unknown"]'::jsonb
        )
        WHEN coalesce(evidence -> 'notes', '[]') - 'table_unknown' = '[]' THEN '{}'
        ELSE jsonb_build_object('notes', (evidence -> 'notes') - 'table_unknown')
    END
-- || '' keeps the planner on the primary key, as in claim_event.
WHERE id = %(id)s AND (status || '') = 'ingested' AND claim_id = %(claim_id)s

-- name: process_record/list_without_table
-- List the events whose body named no table of a connection with several: a dry run looks their records up before it begins.
-- Returns id, connection_id and record_id. Relies on pk_pancake_webhook_event.
SELECT e.id, e.connection_id::text AS connection_id, e.record_id
FROM public.pancake_webhook_event AS e
WHERE e.id = ANY (%(ids)s) AND e.table_name IS NULL AND e.record_id IS NOT NULL
ORDER BY e.id

-- name: process_record/fence_claim
-- Lock the claimed event at the start of the work transaction, and read the switches again.
-- Returns one row: held_as, the status with which the event is held if a switch is off now; no row if the claim was lost.
-- Relies on pk_pancake_webhook_event, uq_pancake_source.
-- The rest of the transaction uses generic plans: PostgreSQL would plan statements with array parameters at each execution,
-- which costs more than executing them.
SELECT h.status AS held_as
FROM (
    SELECT set_config('plan_cache_mode', 'force_generic_plan', true)
) AS planning
CROSS JOIN public.pancake_webhook_event AS e
CROSS JOIN LATERAL public.pancake_hold_reason(e.connection_id, e.source_ids) AS h
-- || '' keeps the planner on the primary key, as in claim_event.
WHERE e.id = %(id)s AND (e.status || '') = 'ingested' AND e.claim_id = %(claim_id)s
FOR UPDATE OF e

-- name: process_record/lock_records
-- Lock records in the order of their lock keys, until the transaction ends: always the first of a lead's locks.
-- Webhook, polling, reconciliation and processing all use this statement, so they cannot deadlock.
-- Returns one row per lock. Lock classes: 1 = record, 2 = phone, 3 = roster.
SELECT pg_advisory_xact_lock(1, k.key)
FROM (SELECT DISTINCT hashtext(unnest(%(record_ids)s::text[])) AS key ORDER BY key) AS k

-- name: process_record/lock_phones
-- Lock the phones of leads in the order of their lock keys, until the transaction ends: those that the leads name, those of each
-- record's version applied last, of its account and of its ticket's account (the ticket may move to another customer), and those
-- of the accounts whose contacts have these phones. Separate from lock_records: it must see what that lock waited for.
-- Returns one row per lock: phones. Lock class 2 = phone.
-- Relies on uq_pancake_webhook_event_identity, uq_contact_book_primary_phone, the primary keys of account and ticket,
-- Diva's index on contact_book (account_id). OFFSET 0, here and in load_facts, keeps each look-up by its one key, with any
-- statistics: merged into the statement, it may become a join of whole indexes.
WITH applied AS (
    SELECT e.normalized_phone, e.evidence, e.account_id, e.ticket_id
    FROM unnest(%(connection_ids)s::uuid[], %(table_names)s::text[], %(record_ids)s::text[]) AS r (connection_id, table_name, record_id)
    CROSS JOIN LATERAL public.pancake_applied_event(r.connection_id, r.table_name, r.record_id) AS e
), named AS (
    SELECT unnest(%(phones)s::text[]) AS phone
    UNION ALL
    SELECT a.normalized_phone FROM applied AS a
    UNION ALL
    SELECT p.phone FROM applied AS a CROSS JOIN LATERAL jsonb_array_elements_text(a.evidence -> 'phone' -> 'usable') AS p (phone)
    UNION ALL
    -- Retention emptied the phones of the version; its customer's contacts have them.
    SELECT b.primary_phone
    FROM applied AS a
    CROSS JOIN LATERAL (SELECT k.primary_phone FROM public.contact_book AS k WHERE k.account_id = a.account_id OFFSET 0) AS b
    WHERE a.normalized_phone IS NULL
), customer AS (
    SELECT a.account_id FROM applied AS a
    UNION
    SELECT t.account_id
    FROM applied AS a
    CROSS JOIN LATERAL (SELECT k.account_id FROM public.ticket AS k WHERE k.id = a.ticket_id OFFSET 0) AS t
    UNION
    SELECT b.account_id
    FROM named AS n
    CROSS JOIN LATERAL (SELECT k.account_id FROM public.contact_book AS k WHERE k.primary_phone = n.phone OFFSET 0) AS b
)
SELECT pg_advisory_xact_lock(2, k.key), k.phones
FROM (
    SELECT hashtext(n.phone) AS key, array_agg(DISTINCT n.phone) AS phones
    FROM (
        SELECT n.phone FROM named AS n
        UNION ALL
        SELECT a.normalized_phone
        FROM customer AS c
        CROSS JOIN LATERAL (SELECT k.normalized_phone FROM public.account AS k WHERE k.id = c.account_id OFFSET 0) AS a
    ) AS n
    WHERE n.phone IS NOT NULL
    GROUP BY key
    ORDER BY key
) AS k

-- name: process_record/load_applied
-- Load what was applied of a record before, and whether its customer was erased, after the record and its phones were locked.
-- Returns one row: is_erased, and of what was applied the newest times of all versions and the version applied last, null if
-- nothing was; known_phones, those of its customer in Diva, if retention emptied its own. Relies on pk_pancake_webhook_event,
-- ix_customer_erasure_digest, uq_pancake_webhook_event_identity, account's primary key, Diva's index on contact_book (account_id).
SELECT
    EXISTS (
        SELECT FROM public.pancake_erasure(
            %(erasure_digests)s, c.connection_id, %(table_name)s,
            COALESCE(c.modified_on, CASE c.origin WHEN 'webhook' THEN c.arrived_at ELSE '-infinity' END)
        )
    ) AS is_erased,
    v.newest_modified_on, v.newest_arrived_at, v.untimed_arrived_at, v.last_arrived_at, v.had_future_time, v.outcome,
    v.evidence -> 'digests' AS digests, v.ticket_id::text AS ticket_id, v.account_id::text AS account_id, v.normalized_phone AS phone,
    COALESCE(v.evidence -> 'phone' -> 'usable', to_jsonb(array_remove(ARRAY[v.normalized_phone], NULL))) AS usable_phones,
    COALESCE(v.evidence #> '{phone,typed}', '{}') AS typed_phones, v.evidence #> '{phone,digests}' AS phone_digests,
    -- array_remove, not IS NOT NULL, for which the planner may read the whole index of normalized phones.
    CASE WHEN v.normalized_phone IS NULL THEN array_remove(ARRAY(
        SELECT a.normalized_phone FROM public.account AS a WHERE a.id = v.account_id
        UNION
        SELECT b.primary_phone FROM public.contact_book AS b WHERE b.account_id = v.account_id
    ), NULL) ELSE '{}' END AS known_phones
FROM public.pancake_webhook_event AS c
LEFT JOIN LATERAL (
    SELECT
        e.*,
        max(e.modified_on) OVER () AS newest_modified_on,
        first_value(e.arrived_at) OVER (ORDER BY e.modified_on DESC NULLS LAST, e.arrived_at DESC) AS newest_arrived_at,
        max(e.arrived_at) FILTER (WHERE e.modified_on IS NULL) OVER () AS untimed_arrived_at,
        max(e.arrived_at) OVER () AS last_arrived_at,
        bool_or(e.evidence ? 'future_time') OVER () AS had_future_time
    FROM public.pancake_applied_version(%(connection_id)s, %(table_name)s, %(record_id)s) AS e
    ORDER BY e.applied_at DESC
    LIMIT 1
) AS v ON true
WHERE c.id = %(id)s

-- name: process_record/hold_event
-- Hold a claimed event: after the claim the kill switch was turned on, or its sources were switched off.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event SET status = %(status)s WHERE id = %(id)s

-- name: process_record/erase_event
-- Erase a claimed event: it is a version of an erased customer.
-- Returns one row: erased (1). Relies on pk_pancake_webhook_event.
SELECT public.pancake_erase_events(ARRAY[%(id)s::bigint]) AS erased

-- name: process_record/load_facts
-- Load what the decision needs of every lead, after its locks were taken. Open tickets are locked, so they stay open.
-- Returns one row. accounts, open_tickets, admins and managers are JSON arrays, source_names of the event an object (its names, or
-- ids, by id); contact_phone is the lead's phone, if a contact of the account has it. roster_source_id is the first active source
-- that has a roster (null = the default roster). Relies on account_normalized_phone_idx, account_phone_not_normalized_idx,
-- uq_pancake_source, uq_contact_book_primary_phone, ix_pancake_webhook_event_phone, ix_pancake_webhook_event_phone_digest,
-- ix_pancake_webhook_event_ticket, pk_pancake_webhook_event, Diva's index on ticket (account_id). `own_phones` are of accounts that
-- may be the customer's, and not of the lead: open tickets of other accounts with them are the customer's too.
WITH event AS (
    SELECT e.connection_id, e.source_ids FROM public.pancake_webhook_event AS e WHERE e.id = %(id)s
), found_account AS (
    -- The accounts that have one of the phones themselves. The digits are the forms that account.phone_number may hold of a phone: they
    -- find accounts whose phone is not normalized yet.
    SELECT k.id, k.normalized_phone, k.phone_code, k.phone_number, k.phone_enabled, k.created_at, k.deleted_at, k.is_named
    FROM (
        SELECT a.*, a.normalized_phone = ANY (%(phones)s) AS is_named
        FROM public.account AS a
        WHERE a.normalized_phone = ANY (%(phones)s::text[] || %(own_phones)s::text[])
        OFFSET 0
    ) AS k
    UNION ALL
    SELECT k.id, k.normalized_phone, k.phone_code, k.phone_number, k.phone_enabled, k.created_at, k.deleted_at, k.is_named
    FROM (
        -- No phone_number IS NOT NULL, which follows, and for which the planner may read the whole of Diva's index on it.
        SELECT a.*, regexp_replace(a.phone_number, '[^0-9]', '', 'g') = ANY (%(stored_digits)s) AS is_named
        FROM public.account AS a
        WHERE
            a.normalized_phone IS NULL
            AND regexp_replace(a.phone_number, '[^0-9]', '', 'g') = ANY (%(stored_digits)s::text[] || %(own_digits)s::text[])
        OFFSET 0
    ) AS k
), candidate AS (
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at, NULL AS contact_phone, NULL::jsonb AS named
    FROM found_account AS a
    WHERE a.is_named AND a.deleted_at IS NULL
    UNION ALL
    SELECT a.id, a.normalized_phone, a.phone_code, a.phone_number, a.phone_enabled, a.created_at, b.primary_phone,
        CASE WHEN f.is_found AND NOT f.is_named THEN jsonb_build_object('phones', f.named_phones, 'digests', f.named_digests) END
    FROM (SELECT k.account_id, k.primary_phone FROM public.contact_book AS k WHERE k.primary_phone = ANY (%(phones)s) OFFSET 0) AS b
    CROSS JOIN LATERAL (
        SELECT k.id, k.normalized_phone, k.phone_code, k.phone_number, k.phone_enabled, k.created_at, k.deleted_at
        FROM public.account AS k
        WHERE k.id = b.account_id
        OFFSET 0
    ) AS a
    CROSS JOIN LATERAL public.pancake_contact_phone_history(
        b.primary_phone, %(phone_digests)s::jsonb -> b.primary_phone, a.id, a.normalized_phone
    ) AS f
    WHERE
        a.normalized_phone IS DISTINCT FROM b.primary_phone
        AND a.deleted_at IS NULL
        -- A former phone of the account leads to it no more. The caller compares digests, and the phone of an account whose phone
        -- is not normalized yet.
        AND (f.is_named OR NOT f.is_found OR f.named_digests <> '[]' OR f.named_phones <> '[]')
), known AS (
    -- The accounts of the record, and those found through a contact: others may have their phones, which the lead does not name.
    SELECT a.id, a.normalized_phone, a.deleted_at
    FROM public.account AS a
    WHERE a.id IN (%(record_account_id)s, (SELECT t.account_id FROM public.ticket AS t WHERE t.id = %(record_ticket_id)s))
    UNION ALL
    SELECT c.id, c.normalized_phone, NULL FROM candidate AS c WHERE c.contact_phone IS NOT NULL
), customer AS (
    SELECT c.id FROM candidate AS c
    UNION
    SELECT k.id FROM known AS k WHERE k.deleted_at IS NULL
    UNION
    SELECT a.id
    FROM known AS k
    CROSS JOIN LATERAL (
        SELECT c.id, c.deleted_at FROM public.account AS c WHERE c.normalized_phone = k.normalized_phone OFFSET 0
    ) AS a
    WHERE a.deleted_at IS NULL
    UNION
    SELECT a.id FROM found_account AS a WHERE a.deleted_at IS NULL
), found_ticket AS (
    SELECT t.id
    FROM (
        SELECT k.id, k.status, k.data ? 'pancake' AS has_fields
        FROM customer AS c
        CROSS JOIN LATERAL (SELECT t.id, t.status, t.data FROM public.ticket AS t WHERE t.account_id = c.id OFFSET 0) AS k
        UNION
        SELECT t.id, t.status, t.data ? 'pancake' FROM public.ticket AS t WHERE t.id = %(record_ticket_id)s
    ) AS t
    WHERE
        public.pancake_ticket_is_open(t.status)
        -- Tickets that the integration made, also if they have another source now. A forced replay may make an event name another ticket.
        -- Not EXISTS, for which the planner may read the index of all tickets.
        AND (t.has_fields OR (SELECT true FROM public.pancake_webhook_event AS e WHERE e.ticket_id = t.id LIMIT 1))
    ORDER BY t.id
), open_ticket AS (
    SELECT t.id, t.account_id, t.assignee_id, t.title, t.description, t.fields, t.created_at
    FROM found_ticket AS f
    CROSS JOIN LATERAL (
        SELECT k.id, k.account_id, k.assignee_id, k.title, k.description, k.data -> 'pancake' AS fields, k.created_at, k.status
        FROM public.ticket AS k
        WHERE k.id = f.id
        FOR NO KEY UPDATE OF k
    ) AS t
    WHERE public.pancake_ticket_is_open(t.status)
)
SELECT
    (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
            'id', c.id, 'normalized_phone', c.normalized_phone, 'phone_code', c.phone_code, 'phone_number', c.phone_number,
            'contact_phone', c.contact_phone, 'named', c.named, 'state', CASE WHEN c.phone_enabled THEN 'enabled' ELSE 'disabled' END
        ) ORDER BY c.created_at, c.id), '[]')
        FROM candidate AS c
    ) AS accounts,
    (
        SELECT COALESCE(json_agg(json_build_object(
            'id', t.id, 'account_id', t.account_id, 'assignee_id', t.assignee_id, 'title', t.title, 'description', t.description,
            'fields', t.fields,
            'account', (
                SELECT json_build_object('normalized_phone', a.normalized_phone, 'phone_code', a.phone_code, 'phone_number', a.phone_number)
                FROM public.account AS a
                WHERE a.id = t.account_id AND a.deleted_at IS NULL
            ),
            'assignee_is_active', EXISTS (SELECT FROM public.staff AS s WHERE s.id = t.assignee_id AND s.is_active)
        ) ORDER BY t.created_at DESC, t.id), '[]')
        FROM open_ticket AS t
    ) AS open_tickets,
    (SELECT COALESCE(jsonb_agg(s.id ORDER BY s.id), '[]') FROM public.staff AS s WHERE s.role = public.pancake_staff_role('admin') AND s.is_active) AS admins,
    (SELECT COALESCE(jsonb_agg(s.id ORDER BY s.id), '[]') FROM public.staff AS s WHERE s.role = public.pancake_staff_role('manager') AND s.is_active) AS managers,
    (SELECT s.consent_mode FROM public.view_pancake_setting AS s) AS consent_mode,
    (SELECT r.id::text FROM event AS e, public.pancake_roster_source(e.connection_id, e.source_ids) AS r) AS roster_source_id,
    (
        SELECT jsonb_build_object('workspace_id', c.workspace_id::text, 'chat_link', c.chat_link, 'record_link', c.record_link)
        FROM event AS e
        JOIN public.pancake_connection AS c ON c.id = e.connection_id
    ) AS connection,
    (
        SELECT COALESCE(jsonb_object_agg(p.pancake_source_id, COALESCE(p.name, p.pancake_source_id)), '{}')
        FROM event AS e
        JOIN public.pancake_source AS p ON p.connection_id = e.connection_id AND p.pancake_source_id = ANY (e.source_ids)
        WHERE p.pancake_source_id <> '(none)'
    ) AS source_names,
    gen_random_uuid()::text AS new_account_id, gen_random_uuid()::text AS new_ticket_id

-- name: process_record/load_record_facts
-- Load what the decision needs of a record that was applied before: the accounts of its ticket and of the version applied last,
-- with any phone, and whether another record's version applied last names its ticket too.
-- Returns one row: ticket_account and applied_account (JSON objects or null), ticket_is_shared.
-- Relies on ix_pancake_webhook_event_ticket, uq_pancake_webhook_event_identity, the primary keys of account and ticket.
WITH known AS (
    SELECT
        a.id,
        jsonb_build_object(
            'id', a.id, 'normalized_phone', a.normalized_phone, 'phone_code', a.phone_code, 'phone_number', a.phone_number,
            'contact_phone', NULL,
            'state', CASE WHEN a.deleted_at IS NOT NULL THEN 'deleted' WHEN a.phone_enabled THEN 'enabled' ELSE 'disabled' END
        ) AS account
    FROM public.account AS a
    WHERE a.id = %(record_account_id)s OR a.id = (SELECT t.account_id FROM public.ticket AS t WHERE t.id = %(record_ticket_id)s)
)
SELECT
    (
        SELECT k.account FROM known AS k WHERE k.id = (SELECT t.account_id FROM public.ticket AS t WHERE t.id = %(record_ticket_id)s)
    ) AS ticket_account,
    (SELECT k.account FROM known AS k WHERE k.id = %(record_account_id)s) AS applied_account,
    EXISTS (
        SELECT
        FROM (
            SELECT DISTINCT e.connection_id, e.table_name, e.record_id
            FROM public.pancake_webhook_event AS e
            WHERE e.ticket_id = %(record_ticket_id)s
        ) AS r
        CROSS JOIN LATERAL public.pancake_applied_event(r.connection_id, r.table_name, r.record_id) AS l
        WHERE
            l.ticket_id = %(record_ticket_id)s
            AND (r.connection_id, r.record_id) IS DISTINCT FROM (%(connection_id)s, %(record_id)s)
    ) AS ticket_is_shared

-- name: process_record/lock_roster
-- Lock a roster (null source = the default roster), until the transaction ends: always the last of a lead's locks.
-- Returns one row. Lock class 3 = roster.
SELECT pg_advisory_xact_lock(3, hashtext(COALESCE(%(roster_source_id)s::text, 'default')))

-- name: process_record/load_roster
-- Load the members of a roster and lock their rows, so that weights and membership do not change until the transaction ends.
-- Returns one row per member, with what limits it at present, and in each row the setting max_tickets_ahead and the former owner
-- of the customer: of the newest ticket with an owner, null without the setting or the account.
-- Relies on uq_pancake_assignee, Diva's indexes on ticket (account_id) and, for open_cap, (assignee_id).
-- is_expected is asked for a ticket that waits: a share of these is kept for the member, or may be: the shift, or without one the
-- business day, begins about now, and no cap will keep the member from the tickets. It is kept once for each beginning.
SELECT
    a.id::text AS assignee_id, a.staff_id::text AS staff_id, a.is_active, s.is_active AS staff_active, s.on_duty,
    a.weight, a.assigned_count, a.last_assigned_seq, a.was_available,
    CASE WHEN a.shift <> 'always' OR a.daily_cap IS NOT NULL OR a.open_cap IS NOT NULL
        THEN public.pancake_member_limit(a, %(now)s) END AS limited_by,
    COALESCE(a.share_until > %(now)s, false) AS holds_share,
    CASE
        WHEN NOT %(is_waiting)s OR p.waiting_share_minutes = 0 THEN false
        WHEN a.share_until > %(now)s::timestamptz - make_interval(mins => p.waiting_share_minutes) THEN a.share_until > %(now)s
        ELSE
            public.pancake_hours_begin(
                CASE a.shift WHEN 'always' THEN p.business_hours ELSE a.shift END, p.holidays,
                %(now)s::timestamptz - make_interval(mins => p.waiting_share_minutes),
                %(now)s::timestamptz + make_interval(mins => p.waiting_share_minutes)
            )
            AND public.pancake_member_limit(a, %(now)s::timestamptz + make_interval(mins => p.waiting_share_minutes)) IS NULL
    END AS is_expected,
    p.max_tickets_ahead,
    CASE WHEN p.former_owner = 'on' THEN (
        SELECT t.assignee_id::text
        FROM public.ticket AS t
        WHERE t.account_id = %(account_id)s::uuid AND t.assignee_id IS NOT NULL
        ORDER BY t.created_at DESC, t.id
        LIMIT 1
    ) END AS former_owner
FROM public.pancake_assignee AS a
JOIN public.staff AS s ON s.id = a.staff_id
CROSS JOIN public.view_pancake_setting AS p
-- Not IS NOT DISTINCT FROM, for which PostgreSQL uses no index.
WHERE a.source_id = %(roster_source_id)s::uuid OR (%(roster_source_id)s::uuid IS NULL AND a.source_id IS NULL)
ORDER BY a.id
FOR NO KEY UPDATE OF a

-- name: process_record/find_waiting
-- Find out whether another ticket of the same sources waits for an owner, and an administrator was told of it.
-- Returns one row: is_first. Relies on pk_pancake_webhook_event, ix_pancake_webhook_event_unassigned.
SELECT NOT EXISTS (
    SELECT FROM public.pancake_webhook_event AS w
    WHERE
        public.pancake_event_is_unassigned(w.outcome, w.assignee_id, w.evidence)
        AND NOT w.evidence ? 'dropped'
        AND w.connection_id = e.connection_id AND w.source_ids = e.source_ids AND w.id <> e.id
) AS is_first
FROM public.pancake_webhook_event AS e
WHERE e.id = %(id)s

-- name: process_record/merge_account
-- Merge the record's fields into a known account, and fill normalized_phone. It is filled only if the phone is still the one
-- that the decision read: Diva may have changed it while this statement waited for the row.
-- Returns nothing. Relies on account's primary key.
UPDATE public.account
SET
    pancake_metadata = COALESCE(pancake_metadata, '{}') || %(metadata)s::jsonb,
    normalized_phone = CASE
        WHEN normalized_phone IS NOT NULL
            OR phone_code IS DISTINCT FROM %(read_phone_code)s
            OR phone_number IS DISTINCT FROM %(read_phone_number)s
            THEN normalized_phone
        ELSE %(account_phone)s
    END
WHERE id = %(account_id)s

-- name: process_record/insert_account
-- Insert the account of a new customer.
-- Returns nothing.
INSERT INTO public.account (id, display_name, phone_code, phone_number, phone_enabled, normalized_phone, pancake_metadata, created_at)
VALUES (
    %(account_id)s, %(display_name)s, %(phone_code)s, %(phone_number)s, true, %(phone)s, %(metadata)s::jsonb, %(now)s
)

-- name: process_record/insert_consent
-- Record that a lead gives no consent to marketing. An existing record is never changed.
-- Returns nothing.
INSERT INTO public.customer_consent (account_id, consent_data, consent_version)
SELECT %(account_id)s, '{"marketing": false, "marketing_origin": "pancake_lead"}', 1
WHERE NOT EXISTS (SELECT FROM public.customer_consent AS c WHERE c.account_id = %(account_id)s)

-- name: process_record/upsert_contact
-- Insert or update the contact of a phone. A person may have corrected it: the first version of a record only fills what it lacks,
-- a later one writes what it changed.
-- Returns nothing. Relies on uq_contact_book_primary_phone.
INSERT INTO public.contact_book (account_id, primary_phone, name, email, address, created_at, updated_at)
VALUES (%(account_id)s, %(phone)s, %(name)s, %(email)s, %(address)s, %(now)s, %(now)s)
ON CONFLICT (primary_phone) DO UPDATE
SET
    account_id = EXCLUDED.account_id,
    name = CASE
        WHEN %(is_first)s THEN COALESCE(NULLIF(contact_book.name, ''), EXCLUDED.name)
        ELSE COALESCE(%(changed_name)s, contact_book.name)
    END,
    email = CASE
        WHEN %(is_first)s THEN COALESCE(NULLIF(contact_book.email, ''), EXCLUDED.email)
        ELSE COALESCE(%(changed_email)s, contact_book.email)
    END,
    address = CASE
        WHEN %(is_first)s THEN COALESCE(NULLIF(contact_book.address, ''), EXCLUDED.address)
        ELSE COALESCE(%(changed_address)s, contact_book.address)
    END,
    updated_at = EXCLUDED.updated_at

-- name: process_record/insert_other_contacts
-- Insert a contact for each other phone of a customer, so that a later lead with that phone finds the customer. A contact that
-- exists is taken over only if it has no account, or a deleted one.
-- Returns nothing. Relies on uq_contact_book_primary_phone, account's primary key.
INSERT INTO public.contact_book AS b (account_id, primary_phone, name, email, address, created_at, updated_at)
SELECT %(account_id)s, p.phone, %(name)s, %(email)s, %(address)s, %(now)s, %(now)s
FROM unnest(%(phones)s::text[]) AS p (phone)
ON CONFLICT (primary_phone) DO UPDATE
SET account_id = excluded.account_id, updated_at = excluded.updated_at
WHERE
    b.account_id IS NULL
    OR EXISTS (SELECT FROM public.account AS a WHERE a.id = b.account_id AND a.deleted_at IS NOT NULL)

-- name: process_record/insert_ticket
-- Insert a ticket with its owner set, so that Diva's own distribution does not assign it.
-- Returns nothing. Relies on uq_contact_book_primary_phone.
INSERT INTO public.ticket (
    id, title, description, source_id, account_id, contact_book_id, assignee_id, status, data, created_at, updated_at
)
SELECT
    %(ticket_id)s, %(title)s, %(description)s, 'ticket_source_pancake', %(account_id)s,
    (SELECT c.id FROM public.contact_book AS c WHERE c.primary_phone = %(phone)s),
    %(assignee_id)s, 'new', %(data)s::jsonb, %(now)s, %(now)s

-- name: process_record/update_ticket
-- Update an open ticket; its owner does not change. A text that is null is kept.
-- Returns nothing. Relies on ticket's primary key, uq_contact_book_primary_phone.
UPDATE public.ticket AS t
SET
    title = COALESCE(%(title)s, t.title),
    description = COALESCE(%(description)s, t.description),
    account_id = %(account_id)s,
    contact_book_id = CASE
        WHEN %(moves)s OR t.contact_book_id IS NULL
            THEN (SELECT c.id FROM public.contact_book AS c WHERE c.primary_phone = %(phone)s)
        ELSE t.contact_book_id
    END,
    data = CASE WHEN jsonb_typeof(t.data) = 'object' THEN t.data - 'pancake' ELSE COALESCE(t.data, '{}') END || %(data)s::jsonb,
    updated_at = %(now)s
WHERE t.id = %(ticket_id)s

-- name: process_record/store_roster
-- Store the counters of a roster after a choice.
-- Returns nothing. Relies on pk_pancake_assignee.
UPDATE public.pancake_assignee AS a
SET
    assigned_count = m.assigned_count,
    total_assigned = a.total_assigned + (a.id IS NOT DISTINCT FROM %(chosen)s::uuid)::integer,
    last_assigned_seq = m.last_assigned_seq,
    was_available = m.was_available,
    assigned_today = CASE
        WHEN a.id IS DISTINCT FROM %(chosen)s::uuid THEN a.assigned_today
        WHEN a.assigned_on = (%(now)s::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh')::date THEN a.assigned_today + 1
        ELSE 1
    END,
    assigned_on = CASE
        WHEN a.id IS DISTINCT FROM %(chosen)s::uuid THEN a.assigned_on
        ELSE (%(now)s::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh')::date
    END
FROM unnest(
    %(assignee_ids)s::uuid[], %(assigned_counts)s::bigint[], %(last_assigned_seqs)s::bigint[], %(was_available)s::boolean[]
) AS m (id, assigned_count, last_assigned_seq, was_available)
WHERE a.id = m.id

-- name: process_record/finish_event
-- Finish the event with its result, and claim its notifications for this handler; unsent older ones are kept.
-- A replay that changes nothing keeps the recorded result and what was sent. The event that created its ticket stays that event.
-- Of `force` in the evidence `forced` is left. applied_at is the database's: it orders the versions that different handlers applied.
-- Returns one row: notify_claimed_at. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    status = 'processed', processed_at = %(now)s, error_code = NULL, error_detail = NULL,
    applied_at = CASE WHEN %(changes)s OR %(is_applied)s AND outcome IS NULL THEN clock_timestamp() ELSE applied_at END,
    normalized_phone = CASE WHEN %(changes)s OR outcome IS NULL THEN COALESCE(%(phone)s, normalized_phone) ELSE normalized_phone END,
    outcome = CASE
        WHEN NOT %(changes)s THEN COALESCE(outcome, %(outcome)s)
        WHEN outcome = 'ticket_created' AND ticket_id = %(ticket_id)s::uuid THEN outcome
        ELSE %(outcome)s
    END,
    account_id = CASE WHEN %(changes)s THEN %(account_id)s::uuid ELSE COALESCE(account_id, %(account_id)s::uuid) END,
    ticket_id = CASE WHEN %(changes)s THEN %(ticket_id)s::uuid ELSE COALESCE(ticket_id, %(ticket_id)s::uuid) END,
    assignee_id = CASE WHEN %(changes)s THEN %(assignee_id)s::uuid ELSE assignee_id END,
    evidence = (evidence - '{force,forced,error}'::text[]) || CASE WHEN evidence ? 'force' THEN '{"forced": true}' ELSE '{}' END::jsonb
        || CASE WHEN %(changes)s OR NOT evidence ? 'phone' THEN %(evidence)s::jsonb ELSE %(evidence)s::jsonb - 'phone' END,
    notifications = CASE
        WHEN %(notifications)s::jsonb = '[]'::jsonb THEN notifications
        WHEN notified_at IS NULL THEN notifications || %(notifications)s::jsonb
        ELSE %(notifications)s::jsonb
    END,
    notify_claimed_at = clock_timestamp(),
    notified_at = CASE WHEN %(notifications)s::jsonb = '[]'::jsonb THEN notified_at END,
    ticket_watched_at = CASE WHEN %(changes)s AND %(outcome)s IN ('ticket_created', 'ticket_updated') THEN %(now)s ELSE ticket_watched_at END
WHERE id = %(id)s
RETURNING notify_claimed_at

-- name: process_record/fail_event
-- Record a failed attempt: status failed with the time of the next attempt, or dead_letter without one.
-- Returns one row: result (the new status), is_invalid; none if the claim was lost. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET
    status = CASE WHEN %(next_attempt_at)s::timestamptz IS NULL THEN 'dead_letter' ELSE 'failed' END,
    next_attempt_at = %(next_attempt_at)s,
    error_code = %(error_code)s,
    error_detail = %(error_detail)s,
    evidence = evidence || %(evidence)s::jsonb
-- || '' keeps the planner on the primary key, as in claim_event.
WHERE id = %(id)s AND (status || '') = 'ingested' AND claim_id = %(claim_id)s
RETURNING status AS result, status = 'dead_letter' AND public.pancake_event_is_invalid(error_code) AS is_invalid
