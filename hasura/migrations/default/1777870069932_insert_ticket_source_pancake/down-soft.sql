-- Disable the ticket source and keep its row, because tickets reference it. up.sql enables it again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    changed bigint;
BEGIN
    IF to_regclass('public.crm_master_data') IS NULL THEN
        RAISE EXCEPTION 'table crm_master_data does not exist';
    END IF;
    IF NOT EXISTS (SELECT FROM public.crm_master_data WHERE id = 'ticket_source_pancake') THEN
        RAISE EXCEPTION 'ticket_source_pancake does not exist, so it cannot be disabled';
    END IF;
    UPDATE public.crm_master_data
    SET disabled = true, updated_at = now()
    WHERE id = 'ticket_source_pancake' AND disabled IS DISTINCT FROM true;
    SELECT count(*) INTO changed FROM public.crm_master_data WHERE id = 'ticket_source_pancake' AND disabled;
    IF changed <> 1 THEN
        RAISE EXCEPTION 'ticket_source_pancake is not disabled after the update';
    END IF;
END
$$;
