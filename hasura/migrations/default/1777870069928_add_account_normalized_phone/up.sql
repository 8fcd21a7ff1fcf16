-- Add an E.164 phone to account, to match leads with, and a column for Pancake's data of the customer.
-- Nothing here reads the table, so the lock on it is short. 1777870069929 validates the check and builds the indexes.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE public.account
    ADD COLUMN normalized_phone text,
    ADD COLUMN pancake_metadata jsonb,
    ADD CONSTRAINT ck_account_normalized_phone CHECK (normalized_phone ~ '^\+[1-9][0-9]{6,14}$') NOT VALID;

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
COMMENT ON FUNCTION public.account_clear_normalized_phone() IS 'Clears normalized_phone when another program changes the phone';
COMMENT ON TRIGGER account_clear_normalized_phone ON public.account IS 'Keeps normalized_phone from contradicting the phone';
