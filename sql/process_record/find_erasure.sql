-- Find whether a claimed event is a version of an erased customer that is not newer than the erasure, after the locks were taken.
-- Returns one row: is_erased. Relies on pk_pancake_webhook_event, ix_customer_erasure_digest.
SELECT EXISTS (
    SELECT FROM public.pancake_erasure(
        %(digests)s, e.connection_id, %(table_name)s,
        COALESCE(e.modified_on, CASE e.origin WHEN 'webhook' THEN e.arrived_at ELSE '-infinity' END)
    )
) AS is_erased
FROM public.pancake_webhook_event AS e
WHERE e.id = %(id)s
