-- Remove the templates of links. Tickets keep the links that they show until the next version of a lead.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

ALTER TABLE IF EXISTS public.pancake_connection
    DROP CONSTRAINT IF EXISTS ck_pancake_connection_links,
    DROP COLUMN IF EXISTS chat_link,
    DROP COLUMN IF EXISTS record_link;
