-- Add the three notification templates of the integration.
-- Anchor: 1 check that the table exists, 2 check that no unknown template uses the prefix noti_pancake, 3 write so that a
-- second run is harmless, 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    found bigint;
BEGIN
    IF to_regclass('public.notification_template') IS NULL THEN
        RAISE EXCEPTION 'table notification_template does not exist';
    END IF;
    SELECT count(*) INTO found
    FROM public.notification_template
    WHERE code LIKE 'noti\_pancake%'
        AND code NOT IN ('noti_pancake_new_lead', 'noti_pancake_lead_updated', 'noti_pancake_needs_attention');
    IF found > 0 THEN
        RAISE EXCEPTION '% templates have codes noti_pancake… that this migration does not know: rename or delete them first', found;
    END IF;
    INSERT INTO public.notification_template (code, title, body, channel)
    VALUES
        ('noti_pancake_new_lead', 'Lead mới từ Pancake', 'Bạn được giao lead {{customer_name}} ({{phone}}).', 'in_app'),
        ('noti_pancake_lead_updated', 'Lead Pancake được cập nhật', 'Lead {{customer_name}} ({{phone}}) có thông tin mới.', 'in_app'),
        ('noti_pancake_needs_attention', 'Tích hợp Pancake cần chú ý', '{{reason}}: {{detail}}', 'in_app')
    ON CONFLICT (code) DO NOTHING;
    SELECT count(*) INTO found FROM public.notification_template WHERE code LIKE 'noti\_pancake%';
    IF found <> 3 THEN
        RAISE EXCEPTION 'expected 3 templates with codes noti_pancake…, found %', found;
    END IF;
END
$$;
