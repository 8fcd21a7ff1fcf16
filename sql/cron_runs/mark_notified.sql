-- Record that the notifications of a run were accepted.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run
SET report = report || jsonb_build_object('notified_at', %(now)s::timestamptz)
WHERE id = %(id)s
