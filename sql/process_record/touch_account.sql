-- Merge what the record says of a known customer, and fill a phone that was not normalised yet.
-- Returns nothing. Relies on account's primary key.
UPDATE public.account
SET
    pancake_metadata = COALESCE(pancake_metadata, '{}') || %(metadata)s::jsonb,
    normalized_phone = COALESCE(normalized_phone, %(account_phone)s)
WHERE id = %(account_id)s
