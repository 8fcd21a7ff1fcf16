-- Prepare account for the backfill: validate the check of normalized_phone, and build the indexes that find accounts by phone.
-- leads backfill-phones fills the column in batches and outside any migration, so that no transaction holds a million row
-- locks. May run at any time again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- The scan blocks no writer, because the lock of the ALTER TABLE in 1777870069928 was released.
ALTER TABLE public.account VALIDATE CONSTRAINT ck_account_normalized_phone;

-- CREATE INDEX blocks writers of account until this file commits. The column is still empty: one scan, and nothing to sort.
CREATE INDEX IF NOT EXISTS account_normalized_phone_idx
    ON public.account (normalized_phone)
    WHERE normalized_phone IS NOT NULL;

-- The second index finds accounts without normalized_phone by the digits of phone_number. Before the backfill it holds every
-- account with a phone, so on a large table leads backfill-phones builds it, CONCURRENTLY. Until then the look-up reads the table.
DO $$
BEGIN
    IF to_regclass('public.account_phone_not_normalized_idx') IS NOT NULL THEN
        RETURN;
    END IF;
    IF pg_relation_size('public.account') > 32 * 1024 * 1024 THEN
        RAISE NOTICE 'account is large: run leads backfill-phones, which builds account_phone_not_normalized_idx and fills normalized_phone';
    ELSE
        CREATE INDEX account_phone_not_normalized_idx
            ON public.account (regexp_replace(phone_number, '[^0-9]', '', 'g'))
            WHERE normalized_phone IS NULL AND phone_number IS NOT NULL;
        RAISE NOTICE 'this migration does not fill normalized_phone: run leads backfill-phones';
    END IF;
END
$$;
