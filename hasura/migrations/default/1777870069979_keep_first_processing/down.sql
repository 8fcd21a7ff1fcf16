-- Remove what up.sql added: latencies are those of the last processing again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP TRIGGER IF EXISTS pancake_webhook_event_keep_first ON public.pancake_webhook_event;
DROP FUNCTION IF EXISTS public.pancake_webhook_event_keep_first();
ALTER TABLE public.pancake_webhook_event DROP COLUMN IF EXISTS first_processed_at;
