-- Record that the notices of some changes of a status are stored with a run of check_connection.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run
SET report = report || jsonb_build_object('notified_at', %(now)s::timestamptz)
WHERE id = ANY (%(ids)s)
