-- Record that notifications of runs were not sent: when they are tried again, or that they are given up; which of them were sent.
-- Ends the claim, if it is still the newest.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run AS r
SET
    notify_claimed_at = NULL,
    notify_attempts = m.attempts,
    notify_refusals = m.refusals,
    notify_unknowns = m.unknowns,
    notify_unsent_since = m.unsent_since,
    notify_next_at = m.next_at,
    notify_given_up_at = m.given_up_at,
    notify_error = m.error,
    notify_sent = NULLIF(r.notify_sent || m.sent, '{}')
FROM jsonb_to_recordset(%(results)s::jsonb) AS m (
    id bigint, claimed_at timestamptz, attempts integer, refusals integer, unknowns integer, unsent_since timestamptz,
    next_at timestamptz, given_up_at timestamptz, error text, sent text[]
)
WHERE r.id = m.id AND r.notify_claimed_at = m.claimed_at AND r.notified_at IS NULL
