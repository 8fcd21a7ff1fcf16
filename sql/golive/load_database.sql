-- Load the name of the database and its time.
-- Returns one row: name, now. Relies on no table.
SELECT current_database() AS name, clock_timestamp() AS now
