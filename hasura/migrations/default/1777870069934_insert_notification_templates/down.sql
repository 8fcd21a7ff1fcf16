-- Delete the three notification templates of the integration. Fails if one of them is not as up.sql wrote it: it belongs to another
-- program, or a person has changed its text.
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
BEGIN
    IF to_regclass('public.notification_template') IS NULL THEN
        RAISE EXCEPTION 'table notification_template does not exist';
    END IF;
    DELETE FROM public.notification_template AS t
    USING jsonb_to_recordset(wanted) AS w (code text, title text, body text, channel text)
    WHERE (w.code, w.title, w.body, w.channel) = (t.code, t.title, t.body, t.channel);
    SELECT string_agg(t.code, ', ' ORDER BY t.code) INTO others
    FROM public.notification_template AS t
    JOIN jsonb_to_recordset(wanted) AS w (code text) ON w.code = t.code;
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'templates are not as this migration wrote them, or still exist after their deletion: %. Rename or delete them first', others;
    END IF;
END
$$;
