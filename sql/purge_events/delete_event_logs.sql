-- Delete one batch of Hasura's old finished events of our event trigger, with their invocation logs. Hasura's open-source
-- edition does not clean up its event logs.
-- Returns one row: changed (number of events). Relies on pancake_delete_event_logs; runs in the source database.
SELECT public.pancake_delete_event_logs(%(before)s, %(limit)s) AS changed
