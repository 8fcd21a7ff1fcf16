-- Drop primary_phone and the foreign key from contact_book. Reports the number of rows that the key no longer checks.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    guarded bigint;
    orphans bigint;
BEGIN
    SELECT count(*), count(*) FILTER (WHERE a.id IS NULL) INTO guarded, orphans
    FROM public.contact_book AS c
    LEFT JOIN public.account AS a ON a.id = c.account_id
    WHERE c.account_id IS NOT NULL;
    IF orphans > 0 THEN
        RAISE EXCEPTION '% rows of contact_book reference an account that does not exist although fk_contact_book_account is in place', orphans;
    END IF;
    RAISE NOTICE '% rows of contact_book are no longer checked by fk_contact_book_account', guarded;
END
$$;

ALTER TABLE public.contact_book
    DROP CONSTRAINT IF EXISTS fk_contact_book_account,
    DROP CONSTRAINT IF EXISTS uq_contact_book_primary_phone,
    DROP COLUMN IF EXISTS primary_phone;
