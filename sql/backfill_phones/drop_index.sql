-- Drop the index of accounts without normalized_phone that an interrupted build left invalid. Not inside a transaction.
-- Returns nothing. Uses no index.
DROP INDEX CONCURRENTLY IF EXISTS public.account_phone_not_normalized_idx
