-- List the figures of a period: a row without connection and source for all of them, then one for each source with leads or tickets.
-- Returns the columns of pancake_report_source(). Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT
    r.connection, r.source_id, r.source, r.leads, r.tickets, r.held, r.no_phone, r.missed_by_webhook, r.unassigned, r.changed,
    r.unanswered, r.response_p50_minutes, r.response_p95_minutes, r.response_p50_business_minutes, r.response_p95_business_minutes
FROM public.pancake_report_source(%(from)s, %(to)s) AS r
ORDER BY r.connection NULLS FIRST, r.leads DESC, r.source_id
