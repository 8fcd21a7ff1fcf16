-- Give account an E.164 phone to match leads by, and a place for what Pancake knows of the customer.
-- The column starts empty, so its index is built on nothing; the second index takes 1 to 2 s for a million
-- accounts and shrinks while the backfill script fills the column.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE public.account
    ADD COLUMN normalized_phone text,
    ADD COLUMN pancake_metadata jsonb,
    ADD CONSTRAINT ck_account_normalized_phone CHECK (normalized_phone ~ '^\+[1-9][0-9]{6,14}$') NOT VALID;

-- One scan of the table in the transaction of the ALTER TABLE above; statement_timeout bounds it.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE public.account VALIDATE CONSTRAINT ck_account_normalized_phone;

CREATE INDEX account_normalized_phone_idx
    ON public.account (normalized_phone)
    WHERE normalized_phone IS NOT NULL;

-- Accounts not normalised yet are found by the digits they were stored with.
CREATE INDEX account_phone_not_normalized_idx
    ON public.account (regexp_replace(phone_number, '[^0-9]', '', 'g'))
    WHERE normalized_phone IS NULL AND phone_number IS NOT NULL;

-- Other programs change a phone without knowing of normalized_phone: it is cleared and filled again later.
CREATE FUNCTION public.account_clear_normalized_phone() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.normalized_phone := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER account_clear_normalized_phone
    BEFORE UPDATE OF phone_code, phone_number ON public.account
    FOR EACH ROW
    WHEN ((OLD.phone_code, OLD.phone_number) IS DISTINCT FROM (NEW.phone_code, NEW.phone_number)
        AND OLD.normalized_phone IS NOT DISTINCT FROM NEW.normalized_phone)
    EXECUTE FUNCTION public.account_clear_normalized_phone();

COMMENT ON COLUMN public.account.normalized_phone IS 'E.164, derived from phone_code and phone_number; null until normalised';
COMMENT ON COLUMN public.account.pancake_metadata IS 'The newest Pancake record of this customer, as mapped fields';
