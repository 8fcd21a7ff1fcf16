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
