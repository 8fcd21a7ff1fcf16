-- Add the three notification templates of the integration.
-- Anchor: 1 check that the table exists, 2 check that every template with the prefix noti_pancake is as this file writes it, 3 write
-- so that a second run is harmless, 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    wanted CONSTANT jsonb := '[
        {"code": "noti_pancake_new_lead", "channel": "in_app", "title": "Lead mới từ Pancake", "body": "Bạn được giao lead {{customer_name}} ({{phone}})."},
        {"code": "noti_pancake_lead_updated", "channel": "in_app", "title": "Lead Pancake được cập nhật", "body": "Lead {{customer_name}} ({{phone}}) có thông tin mới: {{changes}}."},
        {"code": "noti_pancake_needs_attention", "channel": "in_app", "title": "Tích hợp Pancake cần chú ý", "body": "{{title}}: {{text}}"}
    ]';
    others text;
    found bigint;
BEGIN
    IF to_regclass('public.notification_template') IS NULL THEN
        RAISE EXCEPTION 'table notification_template does not exist';
    END IF;
    SELECT string_agg(t.code, ', ' ORDER BY t.code) INTO others
    FROM public.notification_template AS t
    WHERE t.code LIKE 'noti\_pancake%'
        AND NOT EXISTS (
            SELECT FROM jsonb_to_recordset(wanted) AS w (code text, title text, body text, channel text)
            WHERE (w.code, w.title, w.body, w.channel) = (t.code, t.title, t.body, t.channel)
        );
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'templates are not as this migration writes them: %. Rename or delete them first', others;
    END IF;
    INSERT INTO public.notification_template (code, title, body, channel)
    SELECT w.code, w.title, w.body, w.channel
    FROM jsonb_to_recordset(wanted) AS w (code text, title text, body text, channel text)
    ON CONFLICT (code) DO NOTHING;
    SELECT count(*) INTO found FROM public.notification_template WHERE code LIKE 'noti\_pancake%';
    IF found <> 3 THEN
        RAISE EXCEPTION 'expected 3 templates with codes noti_pancake…, found %', found;
    END IF;
END
$$;
