-- Limit what follows in this transaction: it changes nothing, and no statement waits or runs for longer than `timeout`.
-- Returns one row: the two settings.
SELECT
    set_config('transaction_read_only', 'on', true) AS transaction_read_only,
    set_config('statement_timeout', %(timeout)s, true) AS statement_timeout
