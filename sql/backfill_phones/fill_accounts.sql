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
