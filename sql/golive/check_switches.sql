-- Compare kill switch and active sources with what they have to be before the start of the pilot, and after it.
-- Returns one row: before_start, after_start (numbers of switches that are wrong), details (what they are).
-- Relies on pancake_source, which is small, and on the settings.
SELECT
    (NOT s.kill_switch)::integer + (c.active > 1)::integer AS before_start,
    s.kill_switch::integer + (c.active <> 1)::integer AS after_start,
    format('kill switch %%s, %%s active sources', CASE WHEN s.kill_switch THEN 'on' ELSE 'off' END, c.active) AS details
FROM public.pancake_switch() AS s
CROSS JOIN (SELECT count(*) AS active FROM public.pancake_source AS p WHERE p.is_active AND NOT p.is_removed) AS c
