-- Insert or update the contact of a phone. Fields that the record does not name keep their values.
-- Returns nothing. Relies on uq_contact_book_primary_phone.
INSERT INTO public.contact_book (account_id, primary_phone, name, email, address, created_at, updated_at)
VALUES (%(account_id)s, %(phone)s, %(name)s, %(email)s, %(address)s, %(now)s, %(now)s)
ON CONFLICT (primary_phone) DO UPDATE
SET
    account_id = EXCLUDED.account_id,
    name = COALESCE(EXCLUDED.name, contact_book.name),
    email = COALESCE(EXCLUDED.email, contact_book.email),
    address = COALESCE(EXCLUDED.address, contact_book.address),
    updated_at = EXCLUDED.updated_at
