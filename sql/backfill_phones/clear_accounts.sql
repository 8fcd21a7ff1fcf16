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
