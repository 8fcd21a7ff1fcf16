-- Remove the view, its functions and the settings of the integration. Other keys of app_settings stay.
-- Without the settings, pancake_switch() (migration 1777870069931) reads the kill switch as on.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP VIEW IF EXISTS public.view_pancake_setting;
DROP FUNCTION IF EXISTS public.pancake_setting_write();

DO $$
BEGIN
    IF to_regclass('public.app_setting') IS NULL THEN
        RAISE EXCEPTION 'table app_setting does not exist';
    END IF;
    UPDATE public.app_setting SET app_settings = app_settings - 'pancake_integration' WHERE id = 1;
    IF EXISTS (SELECT FROM public.app_setting WHERE id = 1 AND app_settings ? 'pancake_integration') THEN
        RAISE EXCEPTION 'key pancake_integration is still in app_settings after its removal';
    END IF;
END
$$;
