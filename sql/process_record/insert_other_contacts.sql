-- Insert a contact for each other phone of a customer that has none, so that a later lead with that phone finds the customer.
-- Returns nothing. Relies on uq_contact_book_primary_phone.
INSERT INTO public.contact_book (account_id, primary_phone, name, email, address, created_at, updated_at)
SELECT %(account_id)s, p.phone, %(name)s, %(email)s, %(address)s, %(now)s, %(now)s
FROM unnest(%(phones)s::text[]) AS p (phone)
ON CONFLICT (primary_phone) DO NOTHING
