-- name: history/list_changes
-- List the changes of a period by people, the newest first. The replays of one transaction are one row, and so are its deletes of events, and
-- an erasure: `rows` counts the events or digests, `row_id` and `last_row_id` are the lowest and the highest, as numbers.
-- Returns id, changed_at, kind, action, row_id, last_row_id, rows, name, changed_by, person (name of a member of staff),
-- hasura_role, database_role, application, before, after, reason. Relies on ix_integration_change_changed_at.
SELECT
    max(c.id) AS id,
    max(c.changed_at) AS changed_at,
    c.kind,
    c.action,
    (array_agg(c.row_id ORDER BY length(c.row_id), c.row_id))[1] AS row_id,
    (array_agg(c.row_id ORDER BY length(c.row_id) DESC, c.row_id DESC))[1] AS last_row_id,
    count(*) AS rows,
    (array_agg(c.name ORDER BY c.id))[1] AS name,
    c.changed_by,
    (SELECT s.full_name FROM public.staff AS s WHERE s.id::text = c.changed_by) AS person,
    c.hasura_role,
    c.database_role,
    c.application,
    (array_agg(c.before ORDER BY c.id))[1] AS before,
    (array_agg(c.after ORDER BY c.id))[1] AS after,
    (array_agg(c.reason ORDER BY c.id))[1] AS reason
FROM public.integration_change AS c
WHERE c.changed_at >= %(since)s AND (%(until)s::timestamptz IS NULL OR c.changed_at < %(until)s)
    AND c.kind <> 'status' AND (%(kinds)s::text[] IS NULL OR c.kind = ANY (%(kinds)s))
GROUP BY
    CASE WHEN c.kind NOT IN ('event', 'replay', 'erasure') THEN c.id END, c.transaction_id, c.kind, c.action, c.changed_by, c.hasura_role,
    c.database_role, c.application
ORDER BY max(c.id) DESC
LIMIT %(limit)s

-- name: report/list_sources
-- List the figures of a period: a row without connection and source for all of them, then one for each source with leads or tickets.
-- Returns the columns of pancake_report_source(). Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT
    r.connection, r.source_id, r.source, r.leads, r.tickets, r.held, r.no_phone, r.missed_by_webhook, r.unassigned, r.changed,
    r.unanswered, r.response_p50_minutes, r.response_p95_minutes, r.response_p50_business_minutes, r.response_p95_business_minutes,
    r.new_tickets, r.joined, r.updated, r.bad_phone, r.other, r.later_tickets, r.kept, r.by_hand, r.answered, r.closed_unanswered,
    r.broken, r.held_by_kill_switch, r.held_by_connection, r.held_by_source, r.oldest_unanswered_at
FROM public.pancake_report_source(%(from)s, %(to)s) AS r
ORDER BY r.connection NULLS FIRST, r.leads DESC, r.source_id

-- name: report/list_owners
-- List who has the tickets of a period: for each source its owners, the members of its roster without tickets too; and, without
-- connection and source, the owners over all sources.
-- Returns the columns of pancake_report_owner(). Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT r.connection, r.source_id, r.source, r.owner, r.tickets, r.share, r.changed, r.weight, r.spread, r.bound, r.owner_id, r.by_hand, r.unanswered
FROM public.pancake_report_owner(%(from)s, %(to)s) AS r
ORDER BY r.connection NULLS FIRST, r.source_id, r.tickets DESC, r.owner, r.owner_id
