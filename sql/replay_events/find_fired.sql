-- Find Hasura's event that this transaction fired for a row, to name it to the person who replayed the row.
-- Returns one row: hasura_event_id, null if there is none. Relies on Hasura's partial index on pending events.
SELECT public.pancake_fired_event_id(%(id)s) AS hasura_event_id
