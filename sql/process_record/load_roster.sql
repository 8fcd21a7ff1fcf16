-- Load the members of a roster and lock their rows, so that weights and membership do not change until the transaction ends.
-- Returns one row per member. Relies on uq_pancake_assignee.
SELECT
    a.id::text AS assignee_id, a.staff_id::text AS staff_id, a.is_active, s.is_active AS staff_active, s.on_duty,
    a.weight, a.assigned_count, a.last_assigned_seq, a.was_available
FROM public.pancake_assignee AS a
JOIN public.staff AS s ON s.id = a.staff_id
WHERE a.source_id IS NOT DISTINCT FROM %(roster_source_id)s::uuid
ORDER BY a.id
FOR NO KEY UPDATE OF a
