-- Keep the id of a source that only deliveries named, and that is deleted, out of the history of changes: it may be what a sender typed
-- of a customer, and `leads erase` deletes it. Locks pancake_source for writers, and may run again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- As in 1777870069938, for sources that have a name.
CREATE OR REPLACE TRIGGER integration_change_record_delete
    AFTER DELETE ON public.pancake_source
    FOR EACH ROW
    WHEN (OLD.name IS NOT NULL OR OLD.is_active)
    EXECUTE FUNCTION public.integration_change_record(
        'source', 'id', 'pancake_source_id', 'connection_id pancake_source_id name is_active'
    );

-- Of the others the history shows that they were there, by the id of their row.
CREATE OR REPLACE TRIGGER integration_change_record_delete_unnamed
    AFTER DELETE ON public.pancake_source
    FOR EACH ROW
    WHEN (OLD.name IS NULL AND NOT OLD.is_active)
    EXECUTE FUNCTION public.integration_change_record('source', 'id', '', 'connection_id is_active');
