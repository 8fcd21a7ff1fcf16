-- Locks the next batch of due events of the known triggers and returns them, roughly in order of creation.
-- Uses index event_log_fetch_events. The payload is returned as text, so that no number is re-encoded.
UPDATE hdb_catalog.event_log SET locked = now()
WHERE id IN (
  SELECT l.id
  FROM hdb_catalog.event_log AS l
  WHERE NOT l.delivered AND NOT l.error AND NOT l.archived
    AND (l.locked IS NULL OR l.locked < now() - interval '30 minute')
    AND (l.next_retry_at IS NULL OR l.next_retry_at <= now())
    AND l.trigger_name = ANY(%(triggers)s)
  ORDER BY l.locked NULLS FIRST, l.next_retry_at NULLS FIRST, l.created_at
  LIMIT %(batch)s
  FOR UPDATE SKIP LOCKED
)
RETURNING id, schema_name, table_name, trigger_name, payload::text AS payload, tries,
  to_json(created_at)::text AS created_at, created_at AS sort_key
