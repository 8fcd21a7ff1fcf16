-- Find earlier erasures of the same phone or record.
-- Returns one row: count. Relies on ix_customer_erasure_digest.
SELECT count(*) AS count FROM public.customer_erasure AS c WHERE c.digest = ANY (%(digests)s)
