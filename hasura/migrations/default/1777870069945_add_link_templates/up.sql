-- Add to each connection the templates of two links that its tickets show: to the chat, and to the record in Pancake. Empty: no link.
-- Anchor: 1 check that the table exists, 2 add the columns, which refuses to run twice.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regclass('public.pancake_connection') IS NULL THEN
        RAISE EXCEPTION 'table pancake_connection does not exist';
    END IF;
END
$$;

ALTER TABLE public.pancake_connection
    ADD COLUMN chat_link text DEFAULT '' NOT NULL,
    ADD COLUMN record_link text DEFAULT '' NOT NULL,
    -- The names that leads/domain/ticket_text.py replaces; no other braces. The table has a row for each workspace.
    -- squawk-ignore constraint-missing-not-valid
    ADD CONSTRAINT ck_pancake_connection_links CHECK (
        chat_link ~ '^(https://([^{}[:space:]]|[{](page_id|conversation_id|record_id|workspace_id)[}])+)?$'
        AND record_link ~ '^(https://([^{}[:space:]]|[{](page_id|conversation_id|record_id|workspace_id)[}])+)?$'
        AND greatest(char_length(chat_link), char_length(record_link)) <= 300
    );

COMMENT ON COLUMN public.pancake_connection.chat_link IS 'Template of the link to a chat: {page_id}, {conversation_id}, {record_id}, {workspace_id}; empty: none';
COMMENT ON COLUMN public.pancake_connection.record_link IS 'Template of the link to a record, with the same names; empty: none';
