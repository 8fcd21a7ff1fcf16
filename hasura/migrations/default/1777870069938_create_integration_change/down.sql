-- Drop the history of changes with all its entries, the triggers that write it, and the guard of customer_erasure. Take a dump first:
--   pg_dump --table public.integration_change --format custom --file integration_change.dump "$DATABASE_URL"
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- CASCADE drops the triggers.
DROP FUNCTION IF EXISTS public.integration_change_record_setting() CASCADE;
DROP FUNCTION IF EXISTS public.integration_change_record() CASCADE;
DROP FUNCTION IF EXISTS public.integration_change_take_reason() CASCADE;
DROP VIEW IF EXISTS public.view_pancake_connection_status;
DROP TABLE IF EXISTS public.integration_change;
DROP FUNCTION IF EXISTS public.integration_change_guard() CASCADE;
DROP FUNCTION IF EXISTS public.integration_change_add(jsonb, jsonb, jsonb);
DROP FUNCTION IF EXISTS public.integration_change_shown(text, jsonb);
