-- Add the active staff of a role to the default roster; who is in it stays as he is.
-- Returns nothing. Relies on staff and pancake_assignee, which are small.
INSERT INTO public.pancake_assignee (staff_id)
SELECT s.id
FROM public.staff AS s
WHERE s.role = public.pancake_staff_role(%(role)s) AND s.is_active
    AND NOT EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.staff_id = s.id AND a.source_id IS NULL)
