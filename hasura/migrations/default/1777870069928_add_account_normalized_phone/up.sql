-- Add an E.164 phone to account, to match leads with, and a column for Pancake's data of the customer.
-- The new column is empty, so building its index takes no time. The second index takes 1 to 2 s for a million
-- accounts and shrinks while the backfill command fills the column.
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

-- Finds accounts without normalized_phone by the digits of phone_number.
CREATE INDEX account_phone_not_normalized_idx
    ON public.account (regexp_replace(phone_number, '[^0-9]', '', 'g'))
    WHERE normalized_phone IS NULL AND phone_number IS NOT NULL;

-- Clear normalized_phone when another program changes the phone and does not set normalized_phone itself.
-- The backfill command or the customer's next lead fills it again.
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
COMMENT ON COLUMN public.account.pancake_metadata IS 'Mapped fields of the newest Pancake record of this customer';
