-- Record that notifications of events were not sent: when they are tried again, or that they are given up; which of them were sent.
-- Ends the claim, if it is still the newest.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event AS e
SET
    notify_claimed_at = NULL,
    notify_attempts = m.attempts,
    notify_refusals = m.refusals,
    notify_unknowns = m.unknowns,
    notify_unsent_since = m.unsent_since,
    notify_next_at = m.next_at,
    notify_given_up_at = m.given_up_at,
    notify_error = m.error,
    notify_sent = NULLIF(e.notify_sent || m.sent, '{}')
FROM jsonb_to_recordset(%(results)s::jsonb) AS m (
    id bigint, claimed_at timestamptz, attempts integer, refusals integer, unknowns integer, unsent_since timestamptz,
    next_at timestamptz, given_up_at timestamptz, error text, sent text[]
)
WHERE e.id = m.id AND e.notify_claimed_at = m.claimed_at AND e.notified_at IS NULL
