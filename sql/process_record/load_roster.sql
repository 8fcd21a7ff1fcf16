-- Load the members of a roster and lock their rows, so that weights and membership do not change until the transaction ends.
-- Returns one row per member, with what limits it at present, and in each row the setting max_tickets_ahead and the former owner
-- of the customer: of the newest ticket with an owner, null without the setting or the account.
-- Relies on uq_pancake_assignee, Diva's indexes on ticket (account_id) and, for open_cap, (assignee_id).
SELECT
    a.id::text AS assignee_id, a.staff_id::text AS staff_id, a.is_active, s.is_active AS staff_active, s.on_duty,
    a.weight, a.assigned_count, a.last_assigned_seq, a.was_available,
    CASE WHEN a.shift <> 'always' OR a.daily_cap IS NOT NULL OR a.open_cap IS NOT NULL
        THEN public.pancake_member_limit(a, %(now)s) END AS limited_by,
    p.max_tickets_ahead,
    CASE WHEN p.former_owner = 'on' THEN (
        SELECT t.assignee_id::text
        FROM public.ticket AS t
        WHERE t.account_id = %(account_id)s::uuid AND t.assignee_id IS NOT NULL
        ORDER BY t.created_at DESC, t.id
        LIMIT 1
    ) END AS former_owner
FROM public.pancake_assignee AS a
JOIN public.staff AS s ON s.id = a.staff_id
CROSS JOIN public.pancake_setting() AS p
-- Not IS NOT DISTINCT FROM, for which PostgreSQL uses no index.
WHERE a.source_id = %(roster_source_id)s::uuid OR (%(roster_source_id)s::uuid IS NULL AND a.source_id IS NULL)
ORDER BY a.id
FOR NO KEY UPDATE OF a
