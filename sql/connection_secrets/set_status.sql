-- Disable a connection, or make it active again, and record that in the history of its status. Nothing changes if it is disabled
-- already, or is to be enabled and not disabled. The history of changes takes its reason from the transaction.
-- Returns one row: before (its status), is_changed; no row if the connection does not exist. Relies on pk_pancake_connection.
WITH connection AS (
    SELECT c.id, c.name, c.status, set_config('integration.change_reason', coalesce(%(reason)s::text, ''), true) AS reason
    FROM public.pancake_connection AS c
    WHERE c.id = %(id)s::uuid
    FOR NO KEY UPDATE
), changed AS (
    UPDATE public.pancake_connection AS c
    SET status = %(after)s, status_changed_at = %(now)s, updated_at = %(now)s
    FROM connection AS b
    WHERE c.id = b.id AND (b.status = 'disabled') <> (%(after)s = 'disabled')
    RETURNING c.id
), recorded AS (
    INSERT INTO public.pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)
    SELECT
        'connection_status', %(now)s, %(now)s, %(now)s, 'succeeded',
        jsonb_build_object('connections', jsonb_build_array(jsonb_build_object(
            'connection_id', b.id, 'name', b.name, 'before', b.status, 'after', %(after)s::text,
            'reason', %(reason)s::text, 'by', %(by)s::text
        )))
    FROM connection AS b
    JOIN changed AS c ON c.id = b.id
)
SELECT b.status AS before, EXISTS (SELECT FROM changed) AS is_changed FROM connection AS b
