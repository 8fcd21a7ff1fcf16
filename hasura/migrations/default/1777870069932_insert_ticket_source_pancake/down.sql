-- Delete the ticket source. Fails if a ticket references it: run down-soft.sql instead, or move the tickets first.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    referring bigint;
BEGIN
    IF to_regclass('public.crm_master_data') IS NULL OR to_regclass('public.ticket') IS NULL THEN
        RAISE EXCEPTION 'table crm_master_data or ticket does not exist';
    END IF;
    SELECT count(*) INTO referring FROM public.ticket WHERE source_id = 'ticket_source_pancake';
    IF referring > 0 THEN
        RAISE EXCEPTION '% tickets have the source ticket_source_pancake: run down-soft.sql instead, or move the tickets to another source first', referring;
    END IF;
    DELETE FROM public.crm_master_data WHERE id = 'ticket_source_pancake';
    IF EXISTS (SELECT FROM public.crm_master_data WHERE id = 'ticket_source_pancake') THEN
        RAISE EXCEPTION 'ticket_source_pancake still exists after its deletion';
    END IF;
END
$$;
