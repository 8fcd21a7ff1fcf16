-- Store the counters of a roster after a choice.
-- Returns nothing. Relies on pk_pancake_assignee.
UPDATE public.pancake_assignee AS a
SET
    assigned_count = m.assigned_count,
    total_assigned = a.total_assigned + (a.id IS NOT DISTINCT FROM %(chosen)s::uuid)::integer,
    last_assigned_seq = m.last_assigned_seq,
    was_available = m.was_available,
    assigned_today = CASE
        WHEN a.id IS DISTINCT FROM %(chosen)s::uuid THEN a.assigned_today
        WHEN a.assigned_on = (%(now)s::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh')::date THEN a.assigned_today + 1
        ELSE 1
    END,
    assigned_on = CASE
        WHEN a.id IS DISTINCT FROM %(chosen)s::uuid THEN a.assigned_on
        ELSE (%(now)s::timestamptz AT TIME ZONE 'Asia/Ho_Chi_Minh')::date
    END
FROM unnest(
    %(assignee_ids)s::uuid[], %(assigned_counts)s::bigint[], %(last_assigned_seqs)s::bigint[], %(was_available)s::boolean[]
) AS m (id, assigned_count, last_assigned_seq, was_available)
WHERE a.id = m.id
