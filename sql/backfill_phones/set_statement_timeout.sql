-- Limit each statement of this session to a number of milliseconds, given as text. Returns one row.
SELECT set_config('statement_timeout', %(statement_timeout)s, false)
