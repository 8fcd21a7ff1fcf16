-- Count the sources whose leads become tickets.
-- Returns one row: value. Reads the whole table, which is small.
SELECT count(*) AS value FROM public.pancake_source AS s WHERE s.is_active AND NOT s.is_removed
