-- Empty pancake_metadata, which is the integration's, of a customer's accounts.
-- Returns id of each account that had some. Relies on account's primary key, account_normalized_phone_idx.
UPDATE public.account AS a
SET pancake_metadata = NULL
WHERE
    a.pancake_metadata IS NOT NULL
    AND (
        a.normalized_phone = ANY (%(phones)s)
        OR a.id = ANY (%(account_ids)s) AND a.pancake_metadata ->> 'record_id' = ANY (%(record_ids)s)
    )
RETURNING a.id
