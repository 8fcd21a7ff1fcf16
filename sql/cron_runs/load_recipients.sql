-- Load the recipients of a notice: the active administrators.
-- Returns id as text, one row per person. Reads the whole staff table of Diva, which is small.
SELECT s.id::text AS id FROM public.staff AS s WHERE s.role = public.pancake_staff_role('admin') AND s.is_active ORDER BY s.id
