-- name: observer/load_rows
SELECT
    e.id, e.record_id, e.status, e.outcome, e.error_code, e.normalized_phone AS phone, e.attempts,
    e.account_id::text, e.ticket_id::text, t.assignee_id::text AS owner, c.id::text AS contact_id,
    e.notified_at IS NOT NULL OR e.notifications = '[]' AS is_notified
FROM pancake_webhook_event AS e
LEFT JOIN ticket AS t ON t.id = e.ticket_id
LEFT JOIN contact_book AS c ON c.primary_phone = e.normalized_phone
ORDER BY e.processed_at NULLS LAST, e.id

-- name: observer/load_tickets
SELECT t.code, t.title, t.status, a.display_name AS customer, s.full_name AS owner, p.name AS source
FROM ticket AS t
JOIN account AS a ON a.id = t.account_id
LEFT JOIN staff AS s ON s.id = t.assignee_id
LEFT JOIN LATERAL (
    SELECT p.name FROM pancake_webhook_event AS e
    JOIN pancake_source AS p
        ON p.connection_id = e.connection_id AND p.pancake_source_id = ANY (e.source_ids)
    WHERE e.ticket_id = t.id AND p.is_active ORDER BY e.id LIMIT 1
) AS p ON true
WHERE t.source_id = 'ticket_source_pancake'
ORDER BY t.code

-- name: page/load_newest_leads
WITH recent AS (
    SELECT e.id, e.connection_id, e.record_id, CASE WHEN e.record_id IS NULL THEN e.id END AS of_no_record
    FROM pancake_webhook_event AS e
    ORDER BY e.id DESC
    LIMIT 500
), lead AS (
    SELECT max(r.id) AS id
    FROM recent AS r
    GROUP BY r.connection_id, r.record_id, r.of_no_record
    ORDER BY 1 DESC
    LIMIT 12
)
SELECT e.id, e.status, coalesce(e.payload ->> 'name', e.payload -> 'data' ->> 'name') AS name
FROM lead AS l
JOIN pancake_webhook_event AS e ON e.id = l.id
ORDER BY e.id DESC

-- name: page/load_owners
SELECT s.full_name AS name, s.on_duty, count(t.id) AS tickets
FROM staff AS s
LEFT JOIN ticket AS t ON t.assignee_id = s.id AND t.source_id = 'ticket_source_pancake'
WHERE EXISTS (SELECT FROM pancake_assignee AS a WHERE a.staff_id = s.id)
GROUP BY s.id, s.full_name, s.on_duty
ORDER BY s.full_name

-- name: page/count_events
SELECT status, count(*) AS number FROM pancake_webhook_event GROUP BY status
