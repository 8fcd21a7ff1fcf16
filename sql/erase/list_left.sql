-- List what of a customer is Diva's to erase: accounts by id or phone, and whether they have a consent.
-- Returns id, has_consent. Relies on account's primary key, account_normalized_phone_idx, account_phone_not_normalized_idx.
SELECT
    a.id::text AS id, EXISTS (SELECT FROM public.customer_consent AS c WHERE c.account_id = a.id) AS has_consent
FROM public.account AS a
WHERE
    a.id = ANY (%(account_ids)s)
    OR a.normalized_phone = ANY (%(phones)s)
    OR a.normalized_phone IS NULL
        AND a.phone_number IS NOT NULL
        AND regexp_replace(a.phone_number, '[^0-9]', '', 'g') = ANY (%(stored_digits)s)
ORDER BY a.id
