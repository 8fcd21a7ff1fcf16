-- Find the accounts of a phone, as processing does; it is explained, not run.
-- Returns id. Relies on account_normalized_phone_idx.
SELECT a.id FROM public.account AS a WHERE a.normalized_phone = %(phone)s
