-- Set a connection's status, unless it was changed (for example to disabled) since it was read.
-- Returns nothing. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET status = %(after)s, status_changed_at = %(now)s, updated_at = %(now)s
WHERE id = %(connection_id)s AND status = %(before)s
