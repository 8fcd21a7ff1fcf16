-- Record the deletion of every source with its id again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regclass('public.pancake_source') IS NOT NULL AND to_regproc('public.integration_change_record') IS NOT NULL THEN
        CREATE OR REPLACE TRIGGER integration_change_record_delete
            AFTER DELETE ON public.pancake_source
            FOR EACH ROW EXECUTE FUNCTION public.integration_change_record(
                'source', 'id', 'pancake_source_id', 'connection_id pancake_source_id name is_active'
            );
        DROP TRIGGER IF EXISTS integration_change_record_delete_unnamed ON public.pancake_source;
    END IF;
END
$$;
