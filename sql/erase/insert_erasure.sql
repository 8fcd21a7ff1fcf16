-- Store what is left of an erased customer: a row for each phone (without connection) and for each record.
-- Returns nothing.
INSERT INTO public.customer_erasure (digest, connection_id, table_name, erased_at, requested_by, run_by, reason, counts)
VALUES (%(digest)s, %(connection_id)s, %(table_name)s, %(now)s, %(requested_by)s, %(run_by)s, %(reason)s, %(counts)s::jsonb)
