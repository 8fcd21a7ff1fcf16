-- Merge the record's fields into a known account, and fill normalized_phone if it is null.
-- Returns nothing. Relies on account's primary key.
UPDATE public.account
SET
    pancake_metadata = COALESCE(pancake_metadata, '{}') || %(metadata)s::jsonb,
    normalized_phone = COALESCE(normalized_phone, %(account_phone)s)
WHERE id = %(account_id)s
