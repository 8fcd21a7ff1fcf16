-- Insert a contact for each other phone of a customer, so that a later lead with that phone finds the customer. A contact that
-- exists is taken over only if it has no account, or a deleted one.
-- Returns nothing. Relies on uq_contact_book_primary_phone, account's primary key.
INSERT INTO public.contact_book AS b (account_id, primary_phone, name, email, address, created_at, updated_at)
SELECT %(account_id)s, p.phone, %(name)s, %(email)s, %(address)s, %(now)s, %(now)s
FROM unnest(%(phones)s::text[]) AS p (phone)
ON CONFLICT (primary_phone) DO UPDATE
SET account_id = excluded.account_id, updated_at = excluded.updated_at
WHERE
    b.account_id IS NULL
    OR EXISTS (SELECT FROM public.account AS a WHERE a.id = b.account_id AND a.deleted_at IS NOT NULL)
