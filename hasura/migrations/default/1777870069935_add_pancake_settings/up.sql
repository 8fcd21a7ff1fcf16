-- The settings of the integration, with the kill switch on: nothing makes a ticket before somebody turns it off.
-- Anchor: 1 the table exists, 2 row 1 holds an object, 3 settings already there are kept, 4 the result is checked.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    changed bigint;
BEGIN
    IF to_regclass('public.app_setting') IS NULL THEN
        RAISE EXCEPTION 'app_setting does not exist';
    END IF;
    IF (SELECT jsonb_typeof(app_settings) FROM public.app_setting WHERE id = 1) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'app_setting has no row 1 with an object in app_settings';
    END IF;
    UPDATE public.app_setting
    SET app_settings = app_settings || jsonb_build_object(
        'pancake_integration',
        '{"kill_switch": true, "processing_paused": false, "consent_mode": "off", "sla_minutes": 30,
          "payload_retention_days": 90, "cron_run_retention_days": 180, "engine_log_retention_days": 7,
          "replay_rate_per_second": 20}'::jsonb || coalesce(app_settings -> 'pancake_integration', '{}'::jsonb)
    )
    WHERE id = 1;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> 1 THEN
        RAISE EXCEPTION 'app_setting: % rows changed instead of 1', changed;
    END IF;
END
$$;
