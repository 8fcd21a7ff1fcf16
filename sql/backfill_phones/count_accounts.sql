-- Count the accounts with and without normalized_phone. An active phone is one with phone_enabled.
-- Returns one row: with_phone, normalized, open, active, active_normalized. Reads the whole table.
SELECT
    count(a.phone_number) AS with_phone,
    count(a.normalized_phone) AS normalized,
    count(*) FILTER (WHERE a.phone_number IS NOT NULL AND a.normalized_phone IS NULL) AS open,
    count(a.phone_number) FILTER (WHERE a.phone_enabled) AS active,
    count(a.normalized_phone) FILTER (WHERE a.phone_enabled) AS active_normalized
FROM public.account AS a
