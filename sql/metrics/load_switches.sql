-- Load the two switches as the handlers use them, and when the settings were changed last.
-- Without the history of switches/list_switches, which the handlers may not read.
-- Returns switch (kill_switch, processing_paused), is_on, changed_at (null if the time cannot be read).
SELECT
    n.switch,
    CASE n.switch WHEN 'kill_switch' THEN w.kill_switch ELSE w.processing_paused END AS is_on,
    (jsonb_path_query_first_tz(
        v.setting, '$.changed_at ? (@ like_regex "^[0-9]{4}-").datetime()', silent => true
    ) #>> '{}')::timestamptz AS changed_at
FROM public.pancake_switch() AS w
CROSS JOIN unnest(ARRAY['kill_switch', 'processing_paused']) AS n (switch)
LEFT JOIN public.view_pancake_stored_setting AS v ON true
