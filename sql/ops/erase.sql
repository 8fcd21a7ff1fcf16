-- name: erase/set_log
-- Keep statements' values out of PostgreSQL's log until the transaction ends, as far as the role may.
-- Returns name and is_set of each setting: is_set is false where the role may not set it and it has another value.
-- Relies on nothing. The last setting is free to every role.
SELECT
    s.name,
    CASE
        WHEN s.is_free OR has_parameter_privilege(s.name, 'SET') THEN set_config(s.name, s.value, true)
        ELSE current_setting(s.name)
    END = s.value AS is_set
FROM (
    VALUES
        ('log_parameter_max_length', '0', false),
        ('log_error_verbosity', 'terse', false),
        ('log_parameter_max_length_on_error', '0', true)
) AS s (name, value, is_free)

-- name: erase/clear_events
-- Erase events: nothing of the person stays in them, and their versions count as never applied.
-- Returns one row: erased. Relies on pk_pancake_webhook_event.
SELECT public.pancake_erase_events(%(ids)s) AS erased

-- name: erase/clear_ids
-- Take from events what a sender wrote where ids belong: sources that Pancake does not list, a record id that has a phone in it.
-- Returns one row: erased. Relies on pk_pancake_webhook_event.
WITH erased AS (
    UPDATE public.pancake_webhook_event AS e
    SET
        record_id = CASE WHEN e.record_id ~ %(pattern)s THEN NULL ELSE e.record_id END,
        source_ids = ARRAY(
            SELECT s.id
            FROM unnest(e.source_ids) WITH ORDINALITY AS s (id, place)
            WHERE s.id = '(none)' OR EXISTS (
                SELECT FROM public.pancake_source AS p
                WHERE p.connection_id = e.connection_id AND p.pancake_source_id = s.id AND p.name IS NOT NULL
            )
            ORDER BY s.place
        )
    WHERE
        e.id = ANY (%(ids)s)
        AND (
            e.record_id ~ %(pattern)s
            OR EXISTS (
                SELECT FROM unnest(e.source_ids) AS s (id)
                WHERE s.id <> '(none)' AND NOT EXISTS (
                    SELECT FROM public.pancake_source AS p
                    WHERE p.connection_id = e.connection_id AND p.pancake_source_id = s.id AND p.name IS NOT NULL
                )
            )
        )
    RETURNING e.id
)
SELECT count(*) AS erased FROM erased

-- name: erase/delete_sources
-- Delete the sources that Pancake has given no name, if a sender wrote a phone there, or only a customer's events name them. Before clear_ids.
-- Returns id of each. Relies on pk_pancake_webhook_event, for the customer's events; if they name such a source it reads all events.
DELETE FROM public.pancake_source AS p
WHERE
    p.name IS NULL AND p.pancake_source_id <> '(none)'
    AND NOT EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.source_id = p.id)
    AND EXISTS (
        SELECT FROM public.pancake_webhook_event AS e
        WHERE e.id = ANY (%(ids)s) AND e.connection_id = p.connection_id AND p.pancake_source_id = ANY (e.source_ids)
    )
    AND (
        p.pancake_source_id ~ %(pattern)s
        OR NOT EXISTS (
            SELECT FROM public.pancake_webhook_event AS e
            WHERE e.id <> ALL (%(ids)s) AND e.connection_id = p.connection_id AND p.pancake_source_id = ANY (e.source_ids)
        )
    )
RETURNING p.id

-- name: erase/empty_accounts
-- Empty pancake_metadata, which is the integration's, of a customer's accounts.
-- Returns id of each account that had some. Relies on account's primary key, account_normalized_phone_idx.
UPDATE public.account AS a
SET pancake_metadata = NULL
WHERE
    a.pancake_metadata IS NOT NULL
    AND (
        a.normalized_phone = ANY (%(phones)s)
        OR a.id = ANY (%(account_ids)s) AND a.pancake_metadata ->> 'record_id' = ANY (%(record_ids)s)
    )
RETURNING a.id

-- name: erase/empty_contacts
-- Empty the contacts of a customer's phones. Only the integration fills primary_phone: they are its rows.
-- Returns id and account_id of each. Relies on uq_contact_book_primary_phone.
UPDATE public.contact_book AS c
SET name = NULL, email = NULL, address = NULL, primary_phone = NULL, updated_at = %(now)s
WHERE c.primary_phone = ANY (%(phones)s)
RETURNING c.id, c.account_id

-- name: erase/empty_runs
-- Empty the reports of cron runs that name a phone.
-- Returns id of each. Reads all runs.
UPDATE public.pancake_cron_run AS r
SET report = '{}', error = NULL
WHERE r.report::text ~ %(pattern)s OR r.error ~ %(pattern)s
RETURNING r.id

-- name: erase/list_left
-- List what of a customer is Diva's to erase: accounts by id or phone, and whether they have a consent.
-- Returns id, has_consent. Relies on account's primary key, account_normalized_phone_idx, account_phone_not_normalized_idx.
SELECT
    a.id::text AS id, EXISTS (SELECT FROM public.customer_consent AS c WHERE c.account_id = a.id) AS has_consent
FROM public.account AS a
WHERE
    a.id = ANY (%(account_ids)s)
    OR a.normalized_phone = ANY (%(phones)s)
    OR a.normalized_phone IS NULL
        AND a.phone_number IS NOT NULL
        AND regexp_replace(a.phone_number, '[^0-9]', '', 'g') = ANY (%(stored_digits)s)
ORDER BY a.id

-- name: erase/load_tickets
-- Lock and load the tickets that a customer's events name.
-- Returns id, code, title, description, fields (null if emptied before), is_shared: an event of another record names it too.
-- Relies on ticket's primary key, ix_pancake_webhook_event_ticket.
SELECT
    t.id::text AS id, t.code, t.title, t.description, t.data -> 'pancake' AS fields,
    EXISTS (SELECT FROM public.pancake_webhook_event AS e WHERE e.ticket_id = t.id AND e.id <> ALL (%(ids)s)) AS is_shared
FROM public.ticket AS t
WHERE t.id = ANY (%(ticket_ids)s)
ORDER BY t.id
FOR NO KEY UPDATE OF t

-- name: erase/empty_ticket
-- Empty what the integration wrote in a ticket: data.pancake (what is left of it), and its texts; null keeps a text.
-- Returns nothing. Relies on ticket's primary key.
UPDATE public.ticket AS t
SET
    title = COALESCE(%(title)s, t.title), description = COALESCE(%(description)s, t.description),
    data = CASE
        WHEN %(fields)s::jsonb IS NULL THEN t.data - 'pancake'
        ELSE t.data || jsonb_build_object('pancake', %(fields)s::jsonb)
    END,
    updated_at = %(now)s
WHERE t.id = %(id)s

-- name: erase/find_engine
-- Find which of Hasura's logs are in this database: its metadata may be in another one.
-- Returns one row: has_events, has_crons. Relies on nothing.
SELECT
    to_regclass('hdb_catalog.event_log') IS NOT NULL AS has_events,
    to_regclass('hdb_catalog.hdb_cron_event_invocation_logs') IS NOT NULL AS has_crons

-- name: erase/delete_event_logs
-- Delete Hasura's logs of finished events of a customer's rows, and what was sent and answered for all of them.
-- Returns one row: deleted (number of log rows). Runs in the source database; reads all events of our trigger.
WITH event AS (
    SELECT l.id, (l.delivered OR l.error OR l.archived) AND l.locked IS NULL AS is_finished
    FROM hdb_catalog.event_log AS l
    WHERE
        l.trigger_name = 'pancake_webhook_event_status_update'
        AND l.payload -> 'data' -> 'new' ->> 'id' = ANY (%(ids)s::text[])
), logs AS (
    DELETE FROM hdb_catalog.event_invocation_logs AS i WHERE i.event_id IN (SELECT e.id FROM event AS e) RETURNING i.id
), events AS (
    DELETE FROM hdb_catalog.event_log AS l WHERE l.id IN (SELECT e.id FROM event AS e WHERE e.is_finished) RETURNING l.id
)
SELECT (SELECT count(*) FROM logs) + (SELECT count(*) FROM events) AS deleted

-- name: erase/delete_cron_logs
-- Delete Hasura's logs of our crons that name a phone.
-- Returns one row: deleted. Runs in Hasura's metadata database; reads all logs of our crons.
WITH logs AS (
    DELETE FROM hdb_catalog.hdb_cron_event_invocation_logs AS i
    USING hdb_catalog.hdb_cron_events AS c
    WHERE
        c.id = i.event_id
        AND c.trigger_name LIKE 'pancake\_%%'
        AND concat_ws(' ', i.request::text, i.response::text) ~ %(pattern)s
    RETURNING i.id
)
SELECT count(*) AS deleted FROM logs

-- name: erase/find_erasures
-- Find earlier erasures of the same phone or record.
-- Returns one row: count, left_accounts (ids of the accounts that they left to Diva). Relies on ix_customer_erasure_digest.
SELECT
    count(DISTINCT c.id) AS count, COALESCE(array_agg(DISTINCT a.id::uuid) FILTER (WHERE a.id IS NOT NULL), '{}') AS left_accounts
FROM public.customer_erasure AS c
LEFT JOIN LATERAL jsonb_array_elements_text(c.counts -> 'left_accounts') AS a (id) ON true
WHERE c.digest = ANY (%(digests)s)

-- name: erase/insert_erasure
-- Store what is left of an erased customer: a row for each phone (without connection) and for each record.
-- Returns nothing.
INSERT INTO public.customer_erasure (digest, connection_id, table_name, erased_at, requested_by, run_by, reason, counts)
VALUES (%(digest)s, %(connection_id)s, %(table_name)s, %(now)s, %(requested_by)s, %(run_by)s, %(reason)s, %(counts)s::jsonb)

-- name: erase/set_limits
-- Limit how long the transaction waits for locks of others, and how long a statement takes.
-- Returns one row. Relies on nothing.
SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '300s', true)

-- name: erase/lock_events
-- Lock the events of a customer, in the order of their ids.
-- Returns id of each. Relies on pk_pancake_webhook_event.
SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.id = ANY (%(ids)s) ORDER BY e.id FOR UPDATE

-- name: erase/find_events
-- Find the events of a customer: those whose phone it is, those of the given records and ids, and all events of their records.
-- Returns id, connection_id, table_name (lead, account or contact), record_id, account_id, ticket_id, phones, phone_digests; by id.
-- Relies on nothing: it reads all events, since a phone may also be one of several of a lead, or a digest.
WITH event AS (
    SELECT e.*, public.pancake_record_table(e.table_name) AS in_table
    FROM public.pancake_webhook_event AS e
), record AS (
    SELECT e.connection_id, e.in_table, e.record_id
    FROM event AS e
    WHERE
        e.record_id IS NOT NULL
        AND (
            e.normalized_phone = %(phone)s
            OR e.evidence -> 'phone' -> 'usable' ? %(phone)s
            OR e.evidence #>> '{phone,digests,primary}' = ANY (%(phone_digests)s)
            OR e.evidence #> '{phone,digests,usable}' ?| %(phone_digests)s
            OR e.id = ANY (%(ids)s)
        )
    UNION
    SELECT %(connection_id)s::uuid, %(table_name)s, %(record_id)s
)
SELECT
    e.id, e.connection_id, e.in_table AS table_name, e.record_id, e.account_id, e.ticket_id,
    ARRAY(
        SELECT e.normalized_phone WHERE e.normalized_phone IS NOT NULL
        UNION
        SELECT p.phone FROM jsonb_array_elements_text(e.evidence -> 'phone' -> 'usable') AS p (phone)
    ) AS phones,
    COALESCE(e.evidence #> '{phone,digests,usable}', '[]') AS phone_digests
FROM event AS e
WHERE
    e.id = ANY (%(ids)s)
    OR EXISTS (
        SELECT FROM record AS r
        WHERE r.record_id = e.record_id AND r.connection_id = e.connection_id AND r.in_table = e.in_table
    )
ORDER BY e.id

-- name: erase/find_phones
-- Of the phones of a customer's events, find those that no event of another record names.
-- Returns phone. Relies on ix_pancake_webhook_event_phone.
SELECT p.phone
FROM unnest(%(phones)s::text[]) AS p (phone)
WHERE NOT EXISTS (
    SELECT FROM public.pancake_webhook_event AS e WHERE e.normalized_phone = p.phone AND e.id <> ALL (%(ids)s)
)
ORDER BY p.phone

-- name: erase/list_contacts
-- List the phones of the contacts of accounts.
-- Returns phone. Relies on Diva's index on contact_book (account_id).
SELECT c.primary_phone AS phone
FROM public.contact_book AS c
WHERE c.account_id = ANY (%(account_ids)s) AND c.primary_phone IS NOT NULL

-- name: erase/find_mentions
-- Find stored bodies that may name a phone as it was typed: JSON that matches the pattern, and all bodies that are not JSON.
-- Returns id, payload (text), raw; at most `limit` rows. Relies on nothing: it reads all events.
SELECT e.id, e.payload::text AS payload, e.raw
FROM public.pancake_webhook_event AS e
WHERE e.payload::text ~ %(pattern)s OR e.raw IS NOT NULL
ORDER BY e.id
LIMIT %(limit)s
