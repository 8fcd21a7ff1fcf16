-- Build the index of accounts without normalized_phone while other sessions read and write. Not inside a transaction.
-- Returns nothing. Reads the whole table twice. Migration 1777870069929 has the same definition, for small tables.
CREATE INDEX CONCURRENTLY account_phone_not_normalized_idx
    ON public.account (regexp_replace(phone_number, '[^0-9]', '', 'g'))
    WHERE normalized_phone IS NULL AND phone_number IS NOT NULL
