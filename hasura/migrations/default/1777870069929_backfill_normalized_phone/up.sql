-- A hook without effect: account.normalized_phone is filled by scripts/backfill_normalized_phone, in
-- batches and outside any migration, so that no transaction holds a million row locks.
DO $$
BEGIN
    RAISE NOTICE 'normalized_phone is not filled here: run scripts/backfill_normalized_phone';
END
$$;
