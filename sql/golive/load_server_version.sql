-- Load the major version of PostgreSQL.
-- Returns one row: value. Relies on no table.
SELECT current_setting('server_version_num')::integer / 10000 AS value
