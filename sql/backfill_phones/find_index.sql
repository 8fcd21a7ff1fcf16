-- Find the index of accounts without normalized_phone.
-- Returns one row: is_valid; no row if it does not exist. Reads PostgreSQL's catalog.
SELECT i.indisvalid AS is_valid
FROM pg_catalog.pg_index AS i
WHERE i.indexrelid = to_regclass('public.account_phone_not_normalized_idx')
