-- Count Diva's own ticket sources.
-- Returns one row: of_diva. Reads the whole table, which is small.
SELECT count(*) AS of_diva
FROM public.crm_master_data AS m
WHERE m.type = 'ticket_source' AND m.id <> 'ticket_source_pancake'
