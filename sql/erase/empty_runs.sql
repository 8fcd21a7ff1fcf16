-- Empty the reports of cron runs that name a phone.
-- Returns id of each. Reads all runs.
UPDATE public.pancake_cron_run AS r
SET report = '{}', error = NULL
WHERE r.report::text ~ %(pattern)s OR r.error ~ %(pattern)s
RETURNING r.id
