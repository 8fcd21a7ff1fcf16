-- List whose tickets those of a period became: for each source its owners, the members of its roster without tickets too.
-- Returns the columns of pancake_report_owner(). Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT r.connection, r.source_id, r.source, r.owner, r.tickets, r.share, r.changed, r.weight, r.spread, r.bound
FROM public.pancake_report_owner(%(from)s, %(to)s) AS r
ORDER BY r.connection, r.source_id, r.tickets DESC, r.owner
