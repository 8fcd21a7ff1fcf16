-- Count the enabled accounts whose phone can be read, and that backfill-phones has not filled.
-- Returns one row: value. Relies on no index: it reads the whole table of accounts.
SELECT count(*) AS value
FROM public.account AS a
WHERE a.phone_enabled AND a.normalized_phone IS NULL AND a.phone_number ~ '^[0-9]{9,11}$'
