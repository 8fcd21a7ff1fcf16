-- Load the state of our ticket source.
-- Returns one row: is_there, is_disabled, tickets (how many refer to it). Relies on the primary key of crm_master_data; it reads
-- the whole table of tickets, which has no index on the source.
SELECT
    EXISTS (SELECT FROM public.crm_master_data AS m WHERE m.id = 'ticket_source_pancake') AS is_there,
    EXISTS (SELECT FROM public.crm_master_data AS m WHERE m.id = 'ticket_source_pancake' AND m.disabled) AS is_disabled,
    (SELECT count(*) FROM public.ticket AS t WHERE t.source_id = 'ticket_source_pancake') AS tickets
