-- name: database/try_lock
-- Take the session lock of a cron or of replaying, so that two runs of one name never overlap in any process.
-- Returns one row: locked. Lock class 7 = crons and replaying. PostgreSQL releases the lock when the session ends.
SELECT pg_try_advisory_lock(7, hashtext(%(name)s)) AS locked

-- name: database/unlock
-- Release the session lock of a cron or of replaying.
-- Returns one row: unlocked.
SELECT pg_advisory_unlock(7, hashtext(%(name)s)) AS unlocked

-- name: database/find_triggers
-- Look for the SQL triggers of our event trigger, which a wipe of Hasura's metadata removes, and whether the session may write.
-- ask_event_trigger in ops/checks/of_engine.py asks through the engine, for every trigger of the metadata directory.
-- Returns one row: has_triggers, is_writable.
-- Relies on pg_trigger_tgrelid_tgname_index. A disabled trigger does not count.
SELECT count(*) = 2 AS has_triggers, current_setting('transaction_read_only') = 'off' AS is_writable
FROM pg_catalog.pg_trigger AS t
WHERE t.tgrelid = to_regclass('public.pancake_webhook_event')
    AND t.tgname IN (
        'notify_hasura_pancake_webhook_event_status_update_INSERT',
        'notify_hasura_pancake_webhook_event_status_update_UPDATE'
    )
    AND t.tgenabled IN ('O', 'A')
