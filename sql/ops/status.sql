-- name: probes/set_limits
-- Limit what follows in this transaction: it changes nothing, and no statement waits or runs for longer than `timeout`.
-- Returns one row: the two settings.
SELECT
    set_config('transaction_read_only', 'on', true) AS transaction_read_only,
    set_config('statement_timeout', %(timeout)s, true) AS statement_timeout

-- name: probes/load_server
-- Load what the database says of itself, also before the migrations.
-- Returns one row: version, now, name (of the database), role_name, read_only (why it takes no writes, or an empty text), read_only_by
-- (where that is set), missing (tables of the integration) and refused (those that this role may not read).
-- A role that is read-only by itself says nothing of the database.
SELECT
    current_setting('server_version') AS version,
    current_database()::text AS name,
    clock_timestamp() AS now,
    current_user::text AS role_name,
    CASE
        WHEN pg_is_in_recovery() THEN 'it is a standby'
        WHEN s.setting = 'on' AND s.source NOT IN ('user', 'database user', 'client', 'session')
            THEN 'default_transaction_read_only is on'
        ELSE ''
    END AS read_only,
    s.source AS read_only_by,
    coalesce(array_agg(t.name ORDER BY t.name) FILTER (WHERE c.oid IS NULL), '{}') AS missing,
    coalesce(array_agg(t.name ORDER BY t.name) FILTER (WHERE NOT r.is_readable), '{}') AS refused
FROM unnest(ARRAY[
    'pancake_connection', 'pancake_source', 'pancake_assignee', 'pancake_webhook_event', 'pancake_cron_run', 'integration_change'
]) AS t (name)
JOIN pg_catalog.pg_settings AS s ON s.name = 'default_transaction_read_only'
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.' || t.name)
LEFT JOIN LATERAL (SELECT has_any_column_privilege(c.oid, 'SELECT') AS is_readable) AS r ON true
GROUP BY s.setting, s.source

-- name: probes/write_to_disk
-- Let PostgreSQL write two megabytes into a temporary file, which it removes at once: a full disk refuses that, and nothing else
-- that only reads would notice. Returns one row: words. Run it after probes/set_little_memory, in the same transaction.
SELECT count(*) AS words FROM string_to_table(repeat('word ', 50000), ' ')

-- name: probes/set_little_memory
-- Let what follows in this transaction use files soon. Returns one row: work_mem.
SELECT set_config('work_mem', '64kB', true) AS work_mem

-- name: probes/list_role_settings
-- List what ALTER ROLE and ALTER DATABASE set, of `names`, for the logins of the handlers, of the operators, and of the role that owns
-- Hasura's log: of each login and setting the one that counts in this database; and the limits of connections of login and database.
-- Returns one row per login and setting: login, uses_it (handlers, operators, Hasura), name, setting, is_of_role, is_of_database (where
-- it is stored), sessions (that a limit counts). Relies on the catalog and on pg_stat_activity, which shows each role all sessions.
WITH logins AS (
    SELECT r.oid, r.rolname::text AS login, r.rolsuper, r.rolconnlimit, CASE
        WHEN r.oid = (SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass('hdb_catalog.event_log')) THEN 'Hasura'
        WHEN r.rolsuper THEN NULL
        WHEN pg_has_role(r.oid, to_regrole('pancake_handlers')::oid, 'USAGE') THEN 'handlers'
        WHEN pg_has_role(r.oid, to_regrole('pancake_operators')::oid, 'USAGE') THEN 'operators'
    END AS uses_it
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolcanlogin
), sessions AS (
    SELECT a.usesysid, a.datname FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type = 'client backend'
)
(SELECT DISTINCT ON (l.login, o.name)
    l.login,
    l.uses_it,
    o.name,
    o.setting,
    s.setrole <> 0 AS is_of_role,
    s.setdatabase <> 0 AS is_of_database,
    0 AS sessions
FROM logins AS l
INNER JOIN pg_catalog.pg_db_role_setting AS s
    ON s.setrole IN (0, l.oid) AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()))
CROSS JOIN LATERAL unnest(s.setconfig) AS c (text)
CROSS JOIN LATERAL (SELECT split_part(c.text, '=', 1) AS name, substr(c.text, strpos(c.text, '=') + 1) AS setting) AS o
WHERE l.uses_it IS NOT NULL AND o.name = ANY (%(names)s)
ORDER BY l.login, o.name, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC)
UNION ALL
SELECT l.login, l.uses_it, 'CONNECTION LIMIT', m.most::text, m.is_of_role, NOT m.is_of_role, m.sessions
FROM logins AS l
CROSS JOIN LATERAL (
    SELECT l.rolconnlimit AS most, true AS is_of_role, (SELECT count(*) FROM sessions AS a WHERE a.usesysid = l.oid)::int AS sessions
    UNION ALL
    SELECT d.datconnlimit, false, (SELECT count(*) FROM sessions AS a WHERE a.datname = d.datname)::int
    FROM pg_catalog.pg_database AS d
    WHERE d.datname = current_database()
) AS m
WHERE l.uses_it IS NOT NULL AND NOT l.rolsuper AND m.most >= 0

-- name: probes/list_row_security
-- List the tables of deploy/postgres/grant_roles.sql (`rights` is its list, as JSON) whose row level security stands between a login with
-- our roles and the rows: no policy for it passes every row, or one passes some only. Hasura's log has our policies.
-- Returns one row per table: name, roles (those of our roles that it stops), is_closed (to the handlers: no policy passes any row).
-- Relies on the catalog alone.
SELECT
    r.name,
    array_agg(DISTINCT r.role ORDER BY r.role) AS roles,
    coalesce(bool_or(p.is_closed) FILTER (WHERE r.role = 'pancake_handlers'), false) AS is_closed
FROM jsonb_to_recordset(%(rights)s::jsonb) AS r (role text, name text, privilege text)
INNER JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(r.name) AND c.relrowsecurity
INNER JOIN pg_catalog.pg_roles AS u
    ON u.rolcanlogin AND NOT u.rolsuper AND NOT u.rolbypassrls AND pg_has_role(u.oid, to_regrole(r.role)::oid, 'USAGE')
    AND NOT pg_has_role(u.oid, c.relowner, 'USAGE')
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE y.polpermissive) = 0 AS is_closed,
        coalesce(bool_or(e.passes) FILTER (WHERE y.polpermissive), false)
        AND coalesce(bool_and(e.passes) FILTER (WHERE NOT y.polpermissive), true) AS is_open
    FROM pg_catalog.pg_policy AS y
    CROSS JOIN LATERAL (
        SELECT coalesce(pg_get_expr(y.polqual, c.oid), 'true') = 'true' AND coalesce(pg_get_expr(y.polwithcheck, c.oid), 'true') = 'true' AS passes
    ) AS e
    WHERE y.polrelid = c.oid
        AND y.polcmd::text IN ('*', CASE r.privilege WHEN 'SELECT' THEN 'r' WHEN 'INSERT' THEN 'a' WHEN 'UPDATE' THEN 'w' ELSE 'd' END)
        AND EXISTS (SELECT FROM unnest(y.polroles) AS m (oid) WHERE m.oid = 0 OR pg_has_role(u.oid, m.oid, 'USAGE'))
) AS p
WHERE NOT p.is_open AND r.name <> 'hdb_catalog.event_log'
GROUP BY r.name
ORDER BY r.name

-- name: probes/find_lock_wait
-- Find who has waited longest for a lock in this database, for at least `least`, and the session at the root of that wait: of a
-- chain of sessions that wait for each other, the one that waits for none. It waits for no lock itself.
-- Returns at most one row: sessions (that the root keeps waiting), waiting_seconds, blocking_pid (0 is a prepared transaction),
-- blocking_application, blocking_role, blocking_state, blocking_seconds (of its transaction), of which each may be null. One whose
-- blocker ended meanwhile waits no more.
-- pg_locks shows every role the locks of all; of other sessions a role without pg_monitor sees little else.
WITH RECURSIVE waits AS MATERIALIZED (
    SELECT l.pid, l.waitstart, pg_blocking_pids(l.pid) AS blockers
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS s ON s.pid = l.pid AND s.datname = current_database()
    WHERE NOT l.granted
),
chains (pid, waitstart, blocking_pid) AS (
    SELECT w.pid, w.waitstart, b.pid
    FROM waits AS w
    CROSS JOIN unnest(w.blockers) AS b (pid)
    UNION
    SELECT c.pid, c.waitstart, b.pid
    FROM chains AS c
    JOIN waits AS w ON w.pid = c.blocking_pid
    CROSS JOIN unnest(w.blockers) AS b (pid)
),
roots AS (
    SELECT
        c.blocking_pid,
        count(DISTINCT c.pid) AS sessions,
        extract(epoch FROM clock_timestamp() - min(c.waitstart))::float8 AS waiting_seconds
    FROM chains AS c
    WHERE NOT EXISTS (SELECT FROM waits AS w WHERE w.pid = c.blocking_pid)
    GROUP BY c.blocking_pid
    HAVING min(c.waitstart) < clock_timestamp() - %(least)s::interval
)
SELECT
    r.sessions,
    r.waiting_seconds,
    r.blocking_pid,
    a.application_name AS blocking_application,
    a.usename AS blocking_role,
    a.state AS blocking_state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS blocking_seconds
FROM roots AS r
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = r.blocking_pid
ORDER BY r.waiting_seconds DESC, r.sessions DESC
LIMIT 1

-- name: status/list_connections
-- List the connections with their last webhook.
-- Returns one row per connection: id, name, status, allowlist_mode, signature_mode, last_webhook_at (of the last day),
-- active_sources.
-- Relies on ix_pancake_webhook_event_created_at, which it reads back from the newest event.
SELECT
    c.id::text AS id,
    c.name,
    c.status,
    c.allowlist_mode,
    c.signature_mode,
    (
        SELECT e.created_at
        FROM public.pancake_webhook_event AS e
        WHERE e.connection_id = c.id AND e.origin = 'webhook' AND e.created_at > %(now)s::timestamptz - interval '24 hours'
        ORDER BY e.created_at DESC
        LIMIT 1
    ) AS last_webhook_at,
    (SELECT count(*) FROM public.pancake_source AS s WHERE s.connection_id = c.id AND s.is_active) AS active_sources
FROM public.pancake_connection AS c
ORDER BY c.name, c.id

-- name: status/count_events
-- Count the events that are not processed, by status: at most `most` of those that wait, of the failed and of the held ones.
-- Returns one row per status that has any: status, events, oldest_at (since when it waits, or arrived), late (waiting for more than
-- five minutes, or five minutes after the time of its next attempt).
-- Relies on ix_pancake_webhook_event_waiting, ix_pancake_webhook_event_retry and, read alone, ix_pancake_webhook_event_held.
WITH found AS (
    (
        -- As in kpi/load_success: not received_at, which each refire sets.
        SELECT e.status, greatest(e.created_at, e.replayed_at) AS since, greatest(e.created_at, e.replayed_at) AS due_at
        FROM public.pancake_webhook_event AS e
        WHERE public.pancake_event_is_waiting(e.status)
        ORDER BY e.received_at
        LIMIT %(most)s
    )
    UNION ALL
    (
        SELECT e.status, e.created_at AS since, e.next_attempt_at AS due_at
        FROM public.pancake_webhook_event AS e
        WHERE e.status = 'failed'
        ORDER BY e.next_attempt_at
        LIMIT %(most)s
    )
    UNION ALL
    (
        SELECT e.status, e.created_at AS since, NULL AS due_at
        FROM public.pancake_webhook_event AS e
        WHERE e.status IN ('dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        ORDER BY e.id DESC
        LIMIT %(most)s
    )
)
SELECT
    f.status,
    count(*) AS events,
    min(f.since) AS oldest_at,
    count(*) FILTER (WHERE f.due_at < %(now)s::timestamptz - interval '5 minutes') AS late
FROM found AS f
GROUP BY f.status

-- name: status/count_held
-- Count by source the leads that want of an active source holds, of at most `most` of the newest; one that names several counts for each.
-- Returns one row per source that has any: source_id, events. Relies on ix_pancake_webhook_event_held.
SELECT s.id::text AS source_id, count(*) AS events
FROM (
    SELECT e.connection_id, e.source_ids
    FROM public.pancake_webhook_event AS e
    WHERE e.status = 'skipped_source_disabled'
    ORDER BY e.id DESC
    LIMIT %(most)s
) AS h
JOIN public.pancake_source AS s ON s.connection_id = h.connection_id AND s.pancake_source_id = ANY (h.source_ids)
GROUP BY s.id

-- name: status/list_cron_runs
-- List for each cron its last run, and the last one that succeeded; first_tick is the first tick of any of them.
-- Returns one row per name: name, last_tick, last_outcome, last_error, succeeded_tick, succeeded_at; null without a run. The same for
-- all: first_tick, before the first run the time when the first connection was made, and recovered_at, when retry_failed, which is
-- due each minute, first succeeded again after the last pause of more than three minutes within its last 120 runs.
-- Relies on uq_pancake_cron_run_tick.
SELECT
    n.name,
    r.scheduled_time AS last_tick,
    r.outcome AS last_outcome,
    r.error AS last_error,
    s.scheduled_time AS succeeded_tick,
    s.finished_at AS succeeded_at,
    coalesce(
        min(f.scheduled_time) OVER (),
        (SELECT min(c.created_at) FROM public.pancake_connection AS c)
    ) AS first_tick,
    (
        SELECT max(g.finished_at)
        FROM (
            SELECT m.finished_at, m.scheduled_time - lag(m.scheduled_time) OVER (ORDER BY m.scheduled_time) AS gap
            FROM (
                SELECT l.scheduled_time, l.finished_at
                FROM public.pancake_cron_run AS l
                WHERE l.name = 'retry_failed' AND l.outcome = 'succeeded'
                ORDER BY l.scheduled_time DESC
                LIMIT 120
            ) AS m
        ) AS g
        WHERE g.gap > interval '3 minutes'
    ) AS recovered_at
FROM unnest(%(names)s::text[]) AS n (name)
LEFT JOIN LATERAL (
    SELECT l.scheduled_time, l.outcome, l.error
    FROM public.pancake_cron_run AS l
    WHERE l.name = n.name
    ORDER BY l.scheduled_time DESC
    LIMIT 1
) AS r ON true
LEFT JOIN LATERAL (
    SELECT l.scheduled_time, l.finished_at
    FROM public.pancake_cron_run AS l
    WHERE l.name = n.name AND l.outcome = 'succeeded'
    ORDER BY l.scheduled_time DESC
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT l.scheduled_time
    FROM public.pancake_cron_run AS l
    WHERE l.name = n.name
    ORDER BY l.scheduled_time
    LIMIT 1
) AS f ON true
ORDER BY n.name

-- name: status/list_rosters
-- List the rosters that active sources use, with their members.
-- Returns one row per roster: source (null = the default roster), members (active in it), available (also active staff on duty), limits
-- (what keeps those from tickets at `now`; null if a ticket may go to one of them).
-- Reads whole tables, which have few rows. Relies on Diva's index on ticket (assignee_id), for open_cap.
WITH active AS (
    SELECT
        s.id,
        s.name,
        EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.source_id = s.id AND a.is_active) AS has_roster
    FROM public.pancake_source AS s
    JOIN public.pancake_connection AS c ON c.id = s.connection_id
    WHERE s.is_active AND c.status <> 'disabled'
), roster AS (
    SELECT v.id, coalesce(v.name, '(none)') AS source FROM active AS v WHERE v.has_roster
    UNION ALL
    SELECT NULL AS id, NULL AS source WHERE EXISTS (SELECT FROM active AS v WHERE NOT v.has_roster)
)
SELECT
    r.source,
    count(a.id) AS members,
    count(a.id) FILTER (WHERE p.is_active AND p.on_duty) AS available,
    CASE
        WHEN bool_and(l.limited_by IS NOT NULL) FILTER (WHERE p.is_active AND p.on_duty)
            THEN array_agg(DISTINCT l.limited_by) FILTER (WHERE p.is_active AND p.on_duty)
    END AS limits
FROM roster AS r
LEFT JOIN public.pancake_assignee AS a ON (a.source_id = r.id OR (r.id IS NULL AND a.source_id IS NULL)) AND a.is_active
LEFT JOIN public.staff AS p ON p.id = a.staff_id
LEFT JOIN LATERAL (
    SELECT CASE WHEN a.shift <> 'always' OR a.daily_cap IS NOT NULL OR a.open_cap IS NOT NULL
        THEN public.pancake_member_limit(a, %(now)s) END AS limited_by
) AS l ON true
GROUP BY r.id, r.source
ORDER BY r.source NULLS FIRST

-- name: status/count_unsent
-- Count the events with notifications that were not accepted yet, at most `most`, and those that were given up in the last day.
-- metrics/count_unsent has cron runs too, and none that were given up.
-- Returns one row: unsent, oldest_at (when the oldest of them was processed; null without one), reason (the most frequent one of those
-- that were tried), given_up, given_up_at (the last one).
-- Relies on ix_pancake_webhook_event_unnotified and ix_pancake_webhook_event_given_up.
SELECT u.unsent, u.oldest_at, u.reason, g.given_up, g.given_up_at
FROM (
    SELECT count(*) AS unsent, min(n.since) AS oldest_at, mode() WITHIN GROUP (ORDER BY n.notify_error) AS reason
    FROM (
        SELECT e.notify_error, coalesce(e.notify_unsent_since, e.processed_at, e.created_at) AS since
        FROM public.pancake_webhook_event AS e
        WHERE e.notified_at IS NULL AND e.notify_given_up_at IS NULL AND e.notifications <> '[]'::jsonb
        LIMIT %(most)s
    ) AS n
) AS u
CROSS JOIN (
    SELECT count(*) AS given_up, max(e.notify_given_up_at) AS given_up_at
    FROM public.pancake_webhook_event AS e
    WHERE e.notify_given_up_at > %(now)s::timestamptz - interval '24 hours'
) AS g

-- name: status/count_tickets
-- Count the leads of the last ten minutes by their result, those that failed, and the tickets that are usual in ten minutes.
-- Returns one row: leads, tickets, waiting, held, processed_at (the last one); failing (at most `most` that are failed, and the dead letters
-- of an hour, but for invalid ones), dead (those of them that are dead letters), tries, reason (the most frequent one), failed_id (the newest), failed_at; usual (median of the days of
-- a week that had any in this hour, or null); drained_at (the last processed_at before the oldest that waits: a backlog goes in order).
-- Relies on ix_pancake_webhook_event_created_at: it reads eight hours; on ix_pancake_webhook_event_retry, ix_pancake_webhook_event_waiting.
WITH failing AS (
    (
        SELECT e.id, e.status, e.attempts, e.error_code, e.error_detail, e.ingested_at
        FROM public.pancake_webhook_event AS e
        WHERE e.status = 'failed'
        ORDER BY e.next_attempt_at
        LIMIT %(most)s
    )
    UNION ALL
    SELECT e.id, e.status, e.attempts, e.error_code, e.error_detail, e.ingested_at
    FROM public.pancake_webhook_event AS e
    WHERE
        e.created_at > %(now)s::timestamptz - interval '1 hour'
        AND e.status = 'dead_letter'
        AND NOT public.pancake_event_is_invalid(e.error_code)
)
SELECT
    r.leads, r.tickets, r.waiting, r.held, r.processed_at,
    f.failing, f.dead, f.tries, f.reason, f.failed_id, f.failed_at,
    u.usual::float AS usual,
    (
        SELECT max(d.processed_at)
        FROM (
            SELECT e.processed_at
            FROM public.pancake_webhook_event AS e
            WHERE e.created_at < (
                SELECT min(w.created_at)
                FROM (
                    SELECT i.created_at
                    FROM public.pancake_webhook_event AS i
                    WHERE public.pancake_event_is_waiting(i.status) AND i.status = 'received'
                    ORDER BY i.received_at
                    LIMIT %(most)s
                ) AS w
            )
            ORDER BY e.created_at DESC
            LIMIT 100
        ) AS d
    ) AS drained_at
FROM (
    SELECT
        count(*) FILTER (WHERE t.is_new) AS leads,
        count(*) FILTER (WHERE t.is_new AND e.outcome = 'ticket_created') AS tickets,
        count(*) FILTER (WHERE t.is_new AND public.pancake_event_is_waiting(e.status)) AS waiting,
        count(*) FILTER (WHERE t.is_new AND public.pancake_event_is_held(e.status)) AS held,
        max(e.processed_at) AS processed_at
    FROM public.pancake_webhook_event AS e
    CROSS JOIN LATERAL (SELECT e.created_at > %(now)s::timestamptz - interval '10 minutes' AS is_new) AS t
    WHERE e.created_at > %(now)s::timestamptz - interval '1 hour'
) AS r
CROSS JOIN (
    SELECT
        count(*) AS failing,
        count(*) FILTER (WHERE f.status = 'dead_letter') AS dead,
        coalesce(sum(f.attempts), 0) AS tries,
        mode() WITHIN GROUP (ORDER BY concat_ws(': ', f.error_code, f.error_detail)) AS reason,
        max(f.id) AS failed_id,
        max(f.ingested_at) AS failed_at
    FROM failing AS f
) AS f
CROSS JOIN (
    -- The median, as of the webhook's usual deliveries (metrics/count_webhook_hours): a day of a campaign is not usual.
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY d.tickets) FILTER (WHERE d.tickets > 0) / 6 AS usual
    FROM generate_series(1, 7) AS b (days)
    CROSS JOIN LATERAL (
        SELECT count(*) AS tickets
        FROM public.pancake_webhook_event AS i
        WHERE
            i.created_at >= date_trunc('hour', %(now)s::timestamptz) - b.days * interval '24 hours'
            AND i.created_at < date_trunc('hour', %(now)s::timestamptz) - b.days * interval '24 hours' + interval '1 hour'
            AND i.outcome = 'ticket_created'
    ) AS d
) AS u
