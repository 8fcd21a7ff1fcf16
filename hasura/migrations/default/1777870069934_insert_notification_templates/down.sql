-- Delete the three notification templates of the integration.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regclass('public.notification_template') IS NULL THEN
        RAISE EXCEPTION 'table notification_template does not exist';
    END IF;
    DELETE FROM public.notification_template
    WHERE code IN ('noti_pancake_new_lead', 'noti_pancake_lead_updated', 'noti_pancake_needs_attention');
    IF EXISTS (SELECT FROM public.notification_template WHERE code LIKE 'noti\_pancake%') THEN
        RAISE EXCEPTION 'notification_template still has codes noti_pancake… after their deletion';
    END IF;
END
$$;
