-- Allow control characters in the names of connections again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE IF EXISTS public.pancake_connection
    DROP CONSTRAINT IF EXISTS ck_pancake_connection_name;
