-- Remove what up.sql added. The handlers of this version need it.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP FUNCTION IF EXISTS public.pancake_count_event_logs(timestamptz);
