-- Count how often a connection became suspended in the window; those that were suspended in it count at least once.
-- Returns one row: value. Reads the runs of check_connection, and the connections, which are few.
SELECT greatest(
    (
        SELECT count(*) FROM public.view_pancake_connection_status AS v
        WHERE v.status_after = 'suspended' AND v.scheduled_time >= %(from)s AND v.scheduled_time < %(to)s
    ),
    (
        SELECT count(*) FROM public.pancake_connection AS c
        WHERE c.status = 'suspended' AND c.status_changed_at < %(to)s
    )
) AS value
