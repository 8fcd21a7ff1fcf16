-- Load what is wrong with the settings: one text for each that is missing, unreadable or out of its bounds, and that therefore
-- has another value. A text begins with the name of its setting.
-- Returns one row: problems. Relies on the primary key of Diva's table app_setting.
SELECT s.problems FROM public.pancake_setting() AS s
