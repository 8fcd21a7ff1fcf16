-- A hook without effect: scripts/backfill_normalized_phone --undo empties normalized_phone in batches.
-- Undoing migration 1777870069928 drops the column with all that is in it.
DO $$
BEGIN
    RAISE NOTICE 'normalized_phone is not emptied here: run scripts/backfill_normalized_phone --undo';
END
$$;
