-- No changes here. leads backfill-phones fills account.normalized_phone in batches and outside any
-- migration, so that no transaction holds a million row locks.
DO $$
BEGIN
    RAISE NOTICE 'this migration does not fill normalized_phone: run leads backfill-phones';
END
$$;
