-- Record a poll. The watermark never moves back.
-- Returns nothing. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET last_poll_at = %(now)s, poll_watermark = greatest(poll_watermark, %(watermark)s)
WHERE id = %(connection_id)s
