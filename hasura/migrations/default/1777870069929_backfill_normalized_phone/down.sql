-- Drop the indexes. The values stay: leads backfill-phones --undo clears normalized_phone in batches, and the down migration of
-- 1777870069928 drops the column with its values.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP INDEX IF EXISTS public.account_phone_not_normalized_idx;
DROP INDEX IF EXISTS public.account_normalized_phone_idx;
