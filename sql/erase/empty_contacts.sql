-- Empty the contacts of a customer's phones. Only the integration fills primary_phone: they are its rows.
-- Returns id and account_id of each. Relies on uq_contact_book_primary_phone.
UPDATE public.contact_book AS c
SET name = NULL, email = NULL, address = NULL, primary_phone = NULL, updated_at = %(now)s
WHERE c.primary_phone = ANY (%(phones)s)
RETURNING c.id, c.account_id
