-- Count the connections whose status is not active.
-- Returns one row: value, details (their names and status). Reads the whole table, which is small.
SELECT
    count(*) FILTER (WHERE c.status <> 'active') AS value,
    string_agg(format('%%s: %%s', c.name, c.status), ', ' ORDER BY c.name) FILTER (WHERE c.status <> 'active') AS details
FROM public.pancake_connection AS c
