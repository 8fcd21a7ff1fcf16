-- Take a row back to received because somebody pressed "Invoke" in the Hasura console; its event trigger does the rest.
-- Returns one row if the row was in such a state. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET status = 'received', replayed_by = 'console', replayed_at = %(now)s, attempts = 0, next_attempt_at = NULL
WHERE id = %(id)s AND status = ANY (%(states)s)
RETURNING id
