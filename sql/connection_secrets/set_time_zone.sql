-- Set the time zone in which a connection's times without a zone are read. Moves the poll watermark back one day, because
-- the times of recent records may now be earlier.
-- Returns one row: id; no row if the connection does not exist. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    record_timezone = %(zone)s,
    poll_watermark = poll_watermark - interval '1 day',
    updated_at = %(now)s
WHERE id = %(id)s::uuid
RETURNING id::text AS id
