-- Merge the record's fields into a known account, and fill normalized_phone. It is filled only if the phone is still the one
-- that the decision read: Diva may have changed it while this statement waited for the row.
-- Returns nothing. Relies on account's primary key.
UPDATE public.account
SET
    pancake_metadata = COALESCE(pancake_metadata, '{}') || %(metadata)s::jsonb,
    normalized_phone = CASE
        WHEN normalized_phone IS NOT NULL
            OR phone_code IS DISTINCT FROM %(read_phone_code)s
            OR phone_number IS DISTINCT FROM %(read_phone_number)s
            THEN normalized_phone
        ELSE %(account_phone)s
    END
WHERE id = %(account_id)s
