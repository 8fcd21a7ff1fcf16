-- Keep when an event was first processed, so that a replay changes no latency. May run again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Null of an event that was processed before this migration only: its processed_at is the first one, as far as is known.
ALTER TABLE public.pancake_webhook_event ADD COLUMN IF NOT EXISTS first_processed_at timestamptz;
COMMENT ON COLUMN public.pancake_webhook_event.first_processed_at IS 'When the event was first processed; a replay does not change it';

CREATE OR REPLACE FUNCTION public.pancake_webhook_event_keep_first() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.first_processed_at := coalesce(OLD.first_processed_at, OLD.processed_at, NEW.processed_at);
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.pancake_webhook_event_keep_first() IS 'Sets first_processed_at once; later writes do not change it';

CREATE OR REPLACE TRIGGER pancake_webhook_event_keep_first
    BEFORE UPDATE OF processed_at, first_processed_at ON public.pancake_webhook_event
    FOR EACH ROW EXECUTE FUNCTION public.pancake_webhook_event_keep_first();
COMMENT ON TRIGGER pancake_webhook_event_keep_first ON public.pancake_webhook_event IS 'Keeps when an event was first processed';
