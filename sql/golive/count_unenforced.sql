-- Count the connections that enforce no signature or header secret, and no address ranges.
-- Returns one row: signature, allowlist; both null without a connection. Reads the whole table, which is small.
SELECT
    CASE WHEN count(*) > 0 THEN count(*) FILTER (WHERE c.signature_mode <> 'enforce') END AS signature,
    CASE WHEN count(*) > 0 THEN count(*) FILTER (WHERE c.allowlist_mode <> 'enforce') END AS allowlist
FROM public.pancake_connection AS c
WHERE c.status <> 'disabled'
