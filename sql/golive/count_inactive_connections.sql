-- Count the connections whose status is not active.
-- Returns one row: value (null without a connection), details (their names and status). Reads the whole table, which is small.
SELECT
    CASE WHEN count(*) > 0 THEN count(*) FILTER (WHERE c.status <> 'active') END AS value,
    string_agg(format('%%s: %%s', c.name, c.status), ', ' ORDER BY c.name) FILTER (WHERE c.status <> 'active') AS details
FROM public.pancake_connection AS c
