-- Who is told of what needs attention: active staff of a role.
-- Returns id as text. Diva's staff is a small table.
SELECT s.id::text AS id FROM public.staff AS s WHERE s.role = %(role)s AND s.is_active ORDER BY s.id
