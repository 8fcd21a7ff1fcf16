-- Let a claim end after 25 s, just above the 24 s that a handler may work, and let no other handler take it over before. Watch also the
-- tickets that handlers of an older version write. Locks no table, and may run again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- As in 1777870069931, with the shorter lease and the watched tickets.
CREATE OR REPLACE FUNCTION public.pancake_webhook_event_guard_status() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    old_status text;
    is_allowed boolean;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        old_status := OLD.status;
    END IF;
    is_allowed := CASE
        WHEN old_status IS NULL THEN NEW.status IN ('received', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        WHEN old_status = NEW.status THEN true
        WHEN old_status = 'received' THEN NEW.status IN ('ingested', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        WHEN old_status = 'ingested'
            THEN NEW.status IN ('received', 'processed', 'failed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        WHEN old_status = 'failed' THEN NEW.status IN ('received', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
        -- A held event of a customer who was erased.
        WHEN old_status LIKE 'skipped\_%' THEN NEW.status IN ('received', 'dead_letter')
        ELSE NEW.status = 'received'
    END;
    IF NOT is_allowed THEN
        RAISE EXCEPTION 'pancake_webhook_event %: status cannot change from % to %', NEW.id, coalesce(old_status, '(new)'), NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_webhook_event_transition';
    END IF;
    IF
        old_status = 'ingested'
        AND (NEW.status = 'received' OR NEW.claim_id IS DISTINCT FROM OLD.claim_id)
        AND OLD.ingested_at > clock_timestamp() - interval '25 seconds'
    THEN
        RAISE EXCEPTION 'pancake_webhook_event %: claimed at % and still being processed; retry after the lease of 25 s has expired', NEW.id, OLD.ingested_at
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_pancake_webhook_event_lease';
    END IF;
    IF NEW.status = 'received' THEN
        NEW.received_at := clock_timestamp();
        IF old_status IN ('processed', 'dead_letter', 'skipped_kill_switch', 'skipped_source_disabled') THEN
            NEW.attempts := 0;
            NEW.replay_count := OLD.replay_count + 1;
            IF NEW.replayed_at IS NOT DISTINCT FROM OLD.replayed_at THEN
                NEW.replayed_at := clock_timestamp();
                NEW.replayed_by := coalesce(public.pancake_hasura_person(), session_user);
            END IF;
            NEW.evidence := NEW.evidence - 'held_by';
        END IF;
    ELSIF old_status = 'ingested' AND NEW.status = 'processed' THEN
        -- Handlers of a version before 1777870069953 do not say that a ticket is watched.
        IF OLD.outcome IS NULL AND NEW.outcome IN ('ticket_created', 'ticket_updated') THEN
            NEW.ticket_watched_at := coalesce(NEW.ticket_watched_at, NEW.processed_at);
        END IF;
    ELSIF NEW.status IN ('skipped_kill_switch', 'skipped_source_disabled') THEN
        NEW.held_at := coalesce(NEW.held_at, clock_timestamp());
        IF NEW.status = 'skipped_source_disabled' AND EXISTS (
            SELECT FROM public.pancake_connection AS c WHERE c.id = NEW.connection_id AND c.status = 'disabled'
        ) THEN
            NEW.evidence := NEW.evidence || jsonb_build_object('held_by', 'connection_disabled');
        END IF;
    END IF;
    RETURN NEW;
END
$$;
