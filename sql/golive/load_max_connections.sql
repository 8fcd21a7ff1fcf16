-- Load how many sessions PostgreSQL allows.
-- Returns one row: value. Relies on no table.
SELECT current_setting('max_connections')::integer AS value
