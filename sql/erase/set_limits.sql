-- Limit how long the transaction waits for locks of others, and how long a statement takes.
-- Returns one row. Relies on nothing.
SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '300s', true)
