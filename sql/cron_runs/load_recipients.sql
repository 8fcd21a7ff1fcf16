-- Load the recipients of a notification: the active staff of a role.
-- Returns id as text, one row per person. Reads the whole staff table of Diva, which is small.
SELECT s.id::text AS id FROM public.staff AS s WHERE s.role = %(role)s AND s.is_active ORDER BY s.id
