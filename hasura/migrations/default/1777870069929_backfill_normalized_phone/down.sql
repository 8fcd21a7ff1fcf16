-- No changes here. leads backfill-phones --undo clears normalized_phone in batches.
-- The down migration of 1777870069928 drops the column with its values.
DO $$
BEGIN
    RAISE NOTICE 'this migration does not clear normalized_phone: run leads backfill-phones --undo';
END
$$;
