-- name: backfill_phones/list_accounts
-- List the next accounts by id that have a phone but no normalized_phone.
-- Returns up to limit rows: id, phone_code, phone_number. Relies on account's primary key.
SELECT
    a.id::text AS id,
    a.phone_code,
    a.phone_number
FROM public.account AS a
WHERE
    a.id >= %(from_id)s::uuid
    AND a.normalized_phone IS NULL
    AND a.phone_number IS NOT NULL
ORDER BY a.id
LIMIT %(limit)s

-- name: backfill_phones/count_accounts
-- Count the accounts with and without normalized_phone. An active phone is one with phone_enabled.
-- Returns one row: with_phone, normalized, open, active, active_normalized. Reads the whole table.
SELECT
    count(a.phone_number) AS with_phone,
    count(a.normalized_phone) AS normalized,
    count(*) FILTER (WHERE a.phone_number IS NOT NULL AND a.normalized_phone IS NULL) AS open,
    count(a.phone_number) FILTER (WHERE a.phone_enabled) AS active,
    count(a.normalized_phone) FILTER (WHERE a.phone_enabled) AS active_normalized
FROM public.account AS a

-- name: backfill_phones/find_index
-- Find the index of accounts without normalized_phone.
-- Returns one row: is_valid; no row if it does not exist. Reads PostgreSQL's catalog.
SELECT i.indisvalid AS is_valid
FROM pg_catalog.pg_index AS i
WHERE i.indexrelid = to_regclass('public.account_phone_not_normalized_idx')

-- name: backfill_phones/drop_index
-- Drop the index of accounts without normalized_phone that an interrupted build left invalid. Not inside a transaction.
-- Returns nothing. Uses no index.
DROP INDEX CONCURRENTLY IF EXISTS public.account_phone_not_normalized_idx

-- name: backfill_phones/create_index
-- Build the index of accounts without normalized_phone while other sessions read and write. Not inside a transaction.
-- Returns nothing. Reads the whole table twice. Migration 1777870069929 has the same definition, for small tables.
CREATE INDEX CONCURRENTLY account_phone_not_normalized_idx
    ON public.account (regexp_replace(phone_number, '[^0-9]', '', 'g'))
    WHERE normalized_phone IS NULL AND phone_number IS NOT NULL

-- name: backfill_phones/lock_run
-- Take the session lock of the backfill, which is held until the session ends. Returns one row: locked.
-- Uses no table.
SELECT pg_try_advisory_lock(hashtext('backfill_normalized_phone')) AS locked

-- name: backfill_phones/find_longest_wait
-- Find the session that has waited longest for a lock held by session pid.
-- Returns at most one row: pid, waited_ms. Reads pg_locks, which every role may read.
SELECT
    l.pid,
    extract(EPOCH FROM clock_timestamp() - l.waitstart)::float8 * 1000 AS waited_ms
FROM pg_catalog.pg_locks AS l
WHERE
    NOT l.granted
    AND l.waitstart IS NOT NULL
    AND %(pid)s = ANY (pg_catalog.pg_blocking_pids(l.pid))
ORDER BY l.waitstart
LIMIT 1

-- name: backfill_phones/set_statement_timeout
-- Limit each statement of this session to a number of milliseconds, given as text. Returns one row.
SELECT set_config('statement_timeout', %(statement_timeout)s, false)

-- name: backfill_phones/fill_accounts
-- Write the normalized phone of accounts whose phone is unchanged since it was read.
-- Rows locked by another session are skipped and left for the next pass.
-- Returns one row: written. Relies on account's primary key.
WITH given AS (
    SELECT g.id, g.phone_code, g.phone_number, g.phone
    FROM unnest(
        %(ids)s::uuid[], %(phone_codes)s::text[], %(phone_numbers)s::text[], %(phones)s::text[]
    ) AS g (id, phone_code, phone_number, phone)
), free AS (
    SELECT a.id, g.phone
    FROM given AS g
    JOIN public.account AS a ON a.id = g.id
    WHERE
        a.normalized_phone IS NULL
        AND a.phone_code IS NOT DISTINCT FROM g.phone_code
        AND a.phone_number = g.phone_number
    FOR NO KEY UPDATE OF a SKIP LOCKED
), written AS (
    UPDATE public.account AS a
    SET normalized_phone = f.phone
    FROM free AS f
    WHERE a.id = f.id
    RETURNING a.id
)
SELECT count(*) AS written
FROM written AS w

-- name: backfill_phones/clear_accounts
-- Clear normalized_phone of the next accounts by id. Rows locked by another session are left for the next pass.
-- Returns one row: written, last_id (null at the end). Relies on account's primary key.
WITH free AS (
    SELECT a.id
    FROM public.account AS a
    WHERE a.id >= %(from_id)s::uuid AND a.normalized_phone IS NOT NULL
    ORDER BY a.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), written AS (
    UPDATE public.account AS a
    SET normalized_phone = NULL
    FROM free AS f
    WHERE a.id = f.id
    RETURNING a.id
)
SELECT
    (SELECT count(*) FROM written AS w) AS written,
    (SELECT f.id::text FROM free AS f ORDER BY f.id DESC LIMIT 1) AS last_id
