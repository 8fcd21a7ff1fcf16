-- name: live/age
UPDATE pancake_webhook_event
SET
    created_at = created_at - %(by)s::interval, arrived_at = arrived_at - %(by)s::interval,
    processed_at = processed_at - %(by)s::interval, replayed_at = replayed_at - %(by)s::interval

-- name: live/list_waiting
SELECT id FROM pancake_webhook_event
WHERE status = 'received' AND created_at > now() - %(by)s::interval FOR UPDATE SKIP LOCKED

-- name: live/list_unfinished
SELECT id FROM pancake_webhook_event
WHERE
    (
        status IN ('received', 'ingested')
        OR notifications <> '[]' AND notified_at IS NULL AND notify_given_up_at IS NULL
    )

-- name: live/store_usual
SET session_replication_role = replica;
UPDATE pancake_connection SET created_at = created_at - interval '30 days';
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, payload_hash, payload, status, outcome, processed_at, notifications,
    received_at, arrived_at, created_at
)
SELECT
    c.id, 'webhook', 'usual', sha256(convert_to(w.week || ' ' || n.number, 'UTF8')), '{}', 'processed', 'no_change', t.at, '[]',
    t.at, t.at, t.at
FROM pancake_connection AS c
CROSS JOIN generate_series(1, 4) AS w (week)
CROSS JOIN generate_series(1, 8) AS n (number)
CROSS JOIN LATERAL (SELECT now() - w.week * interval '7 days' - n.number * interval '1 minute' AS at) AS t

-- name: live/forget_usual
SET session_replication_role = replica;
SET pancake.delete_events = 'on';
DELETE FROM pancake_webhook_event WHERE record_id = 'usual';
UPDATE pancake_connection SET created_at = now()

-- name: live/age_runs
UPDATE pancake_cron_run
SET
    scheduled_time = scheduled_time - %(by)s::interval, started_at = started_at - %(by)s::interval,
    finished_at = finished_at - %(by)s::interval
WHERE name = %(name)s

-- name: live/lock_events
UPDATE hdb_catalog.event_log
SET delivered = false, locked = now() - interval '6 minutes'
WHERE id IN (
    SELECT id FROM hdb_catalog.event_log
    WHERE trigger_name = 'pancake_webhook_event_status_update' AND delivered LIMIT 3
)

-- name: live/unlock_events
UPDATE hdb_catalog.event_log SET delivered = true, locked = NULL
WHERE locked < now() - interval '6 minutes'

-- name: live/refuse_tickets
CREATE FUNCTION public.incident_refused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF hashtext(NEW.title) % 2 = 0 THEN RAISE EXCEPTION 'no such tickets today'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER incident_refused BEFORE INSERT ON public.ticket FOR EACH ROW
EXECUTE FUNCTION public.incident_refused()

-- name: breakages/store_waiting
-- An event that is claimed again and again for 20 minutes, and whose present claim is valid.
SET session_replication_role = replica;
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, payload_hash, payload, status,
    claim_id, ingested_at, received_at, arrived_at, created_at
)
SELECT
    c.id, 'poll', 'waiting', sha256('waiting'), '{}', 'ingested',
    gen_random_uuid(), now(), now(), now(), now() - interval '20 minutes'
FROM pancake_connection AS c

-- name: breakages/store_failed
-- A lead that failed twice, and is not tried again soon.
SET session_replication_role = replica;
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, payload_hash, payload, status,
    attempts, error_code, error_detail, next_attempt_at, ingested_at, received_at, arrived_at, created_at
)
SELECT
    c.id, 'webhook', 'waiting', sha256('waiting'), '{"action": "delete", "id": "waiting"}', 'failed',
    2, 'internal', 'InsufficientPrivilege', now() + interval '1 day', now(), now(), now(), now()
FROM pancake_connection AS c

-- name: breakages/set_daily_cron_back
-- Of the two daily crons the one whose tick is not near: handlers that started in the hour before it wait for it.
UPDATE pancake_cron_run
SET scheduled_time = scheduled_time - interval '3 days', finished_at = finished_at - interval '3 days'
WHERE name = CASE
    WHEN (now() AT TIME ZONE 'UTC')::time BETWEEN '17:55' AND '19:05' THEN 'purge_events' ELSE 'reconcile_daily'
END

-- name: breakages/set_daily_cron_forward
UPDATE pancake_cron_run
SET scheduled_time = scheduled_time + interval '3 days', finished_at = finished_at + interval '3 days'
WHERE name IN ('purge_events', 'reconcile_daily') AND scheduled_time < now() - interval '2 days'

-- name: breakages/store_unsent
-- A lead whose notifications were refused five minutes ago, and are not tried again soon.
SET session_replication_role = replica;
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, payload_hash, payload, status, outcome, processed_at, notifications,
    notify_error, notify_attempts, notify_refusals, notify_unsent_since, notify_next_at, received_at, arrived_at, created_at
)
SELECT
    c.id, 'webhook', 'waiting', sha256('waiting'), '{}', 'processed', 'no_change', t.at, '[{"name": "a"}]',
    'refused', 1, 1, t.at, now() + interval '1 day', t.at, t.at, t.at
FROM pancake_connection AS c, (SELECT now() - interval '5 minutes' AS at) AS t

-- name: breakages/hold_lead
-- A source is switched off, and holds a lead.
UPDATE pancake_source SET is_active = false WHERE pancake_source_id = '-1';
SET session_replication_role = replica;
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, payload_hash, payload, source_ids, status, held_at, arrived_at, created_at
)
SELECT
    c.id, 'webhook', 'waiting', sha256('waiting'), '{"action": "delete", "id": "waiting"}', '{-1}', 'skipped_source_disabled', now(), now(), now()
FROM pancake_connection AS c

-- name: breakages/delete_waiting
SET session_replication_role = replica;
SET pancake.delete_events = 'on';
DELETE FROM pancake_webhook_event WHERE record_id = 'waiting'

-- name: breakages/slow_inserts
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON pancake_webhook_event FOR EACH STATEMENT EXECUTE FUNCTION slow()

-- name: breakages/fill_disk
-- What writes a file is refused as on a full disk: the statement of `leads status` that tries it, by a function that is found first,
-- and a lead that is stored.
CREATE SCHEMA full_disk;
GRANT USAGE ON SCHEMA full_disk TO PUBLIC;
CREATE FUNCTION full_disk.string_to_table(text, text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RAISE disk_full USING MESSAGE = 'could not write to file "base/pgsql_tmp/pgsql_tmp4711.0": No space left on device';
END $$;
CREATE FUNCTION full_disk.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE disk_full USING MESSAGE = 'could not extend file "base/16384/16999": No space left on device';
END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON public.pancake_webhook_event FOR EACH ROW EXECUTE FUNCTION full_disk.refuse()
