-- Read the naive times of a connection in another zone, and poll its last day anew: times may have become earlier.
-- Returns one row: id; none if there is no such connection. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    record_timezone = %(zone)s,
    poll_watermark = poll_watermark - interval '1 day',
    updated_at = %(now)s
WHERE id = %(id)s::uuid
RETURNING id::text AS id
