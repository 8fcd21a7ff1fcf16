-- Add the ticket source Pancake to Diva's master data.
-- Anchor: 1 check that the table exists, 2 check that the eight sources exist, 3 write so that a second run is harmless,
-- 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    found bigint;
BEGIN
    IF to_regclass('public.crm_master_data') IS NULL THEN
        RAISE EXCEPTION 'table crm_master_data does not exist';
    END IF;
    SELECT count(*) INTO found
    FROM public.crm_master_data
    WHERE type = 'ticket_source' AND id ~ '^ticket_source_[1-8]$';
    IF found <> 8 THEN
        RAISE EXCEPTION 'expected the 8 rows ticket_source_1 to ticket_source_8, found %', found;
    END IF;
    INSERT INTO public.crm_master_data (id, name, type, disabled, updated_at)
    VALUES ('ticket_source_pancake', 'Pancake', 'ticket_source', false, now())
    ON CONFLICT (id) DO UPDATE SET disabled = false, updated_at = now();
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found <> 1 THEN
        RAISE EXCEPTION 'ticket_source_pancake: expected to write 1 row, wrote %', found;
    END IF;
END
$$;
