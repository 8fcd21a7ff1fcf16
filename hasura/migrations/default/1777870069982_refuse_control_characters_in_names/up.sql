-- Refuse control characters in the names of connections: a line feed in one would add lines to what commands print.
-- Anchor: 1 check that the table exists, 2 write spaces for those that are there, 3 add the check, which refuses to run twice.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regclass('public.pancake_connection') IS NULL THEN
        RAISE EXCEPTION 'table pancake_connection does not exist';
    END IF;
END
$$;

UPDATE public.pancake_connection AS c
SET name = regexp_replace(c.name, '[[:cntrl:]]+', ' ', 'g')
WHERE c.name ~ '[[:cntrl:]]';

ALTER TABLE public.pancake_connection
    -- The table has a row for each workspace.
    -- squawk-ignore constraint-missing-not-valid
    ADD CONSTRAINT ck_pancake_connection_name CHECK (name !~ '[[:cntrl:]]');
