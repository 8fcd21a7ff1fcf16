-- Count the connections that enforced no signature or header secret, and no address ranges, at the end of the window: as they are
-- now, unless a later change shows what was before it.
-- Returns one row: signature, allowlist; both null without a connection. Reads the connections, which are few. Relies on
-- ix_integration_change_row.
SELECT
    CASE WHEN count(*) > 0 THEN count(*) FILTER (WHERE COALESCE(s.mode, c.signature_mode) <> 'enforce') END AS signature,
    CASE WHEN count(*) > 0 THEN count(*) FILTER (WHERE COALESCE(a.mode, c.allowlist_mode) <> 'enforce') END AS allowlist
FROM public.pancake_connection AS c
LEFT JOIN LATERAL (
    SELECT h.before ->> 'signature_mode' AS mode
    FROM public.integration_change AS h
    WHERE h.kind = 'connection' AND h.row_id = c.id::text AND h.changed_at >= %(to)s AND h.before ? 'signature_mode'
    ORDER BY h.id
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT h.before ->> 'allowlist_mode' AS mode
    FROM public.integration_change AS h
    WHERE h.kind = 'connection' AND h.row_id = c.id::text AND h.changed_at >= %(to)s AND h.before ? 'allowlist_mode'
    ORDER BY h.id
    LIMIT 1
) AS a ON true
WHERE c.status <> 'disabled'
