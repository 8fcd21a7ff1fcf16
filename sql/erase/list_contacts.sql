-- List the phones of the contacts of accounts.
-- Returns phone. Relies on Diva's index on contact_book (account_id).
SELECT c.primary_phone AS phone
FROM public.contact_book AS c
WHERE c.account_id = ANY (%(account_ids)s) AND c.primary_phone IS NOT NULL
