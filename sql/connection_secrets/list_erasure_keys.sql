-- List the ids of the keys that erasures name: without them erased customers could come back.
-- Returns key_id. Relies on ix_customer_erasure_digest.
SELECT DISTINCT split_part(c.digest, ':', 1) AS key_id
FROM public.customer_erasure AS c
ORDER BY key_id
