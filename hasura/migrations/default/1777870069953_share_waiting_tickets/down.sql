-- Remove what up.sql added. The tickets of the last days are watched no more; an older image reads none of it.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- As 1777870069931 does: about 0.3 s for a million events.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX IF NOT EXISTS ix_pancake_webhook_event_waited ON public.pancake_webhook_event (processed_at)
    WHERE processed_at - created_at > interval '1 day';
DROP INDEX IF EXISTS public.ix_pancake_webhook_event_watched;
ALTER TABLE public.pancake_webhook_event DROP COLUMN IF EXISTS ticket_watched_at;
ALTER TABLE public.pancake_assignee DROP COLUMN IF EXISTS share_until;
DROP FUNCTION IF EXISTS public.pancake_hours_begin(text, text, timestamptz, timestamptz);

DROP VIEW public.view_pancake_setting;

CREATE OR REPLACE FUNCTION public.pancake_setting_rules() RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT '{
        "kill_switch": {"default": true, "one_of": ["true", "false"]},
        "processing_paused": {"default": false, "one_of": ["true", "false"]},
        "consent_mode": {"default": "off", "one_of": ["off", "record"]},
        "sla_minutes": {"default": 30, "lowest": 1, "highest": 1440},
        "replay_rate_per_second": {"default": 20, "lowest": 1, "highest": 1000},
        "payload_retention_days": {"default": 90, "lowest": 7, "highest": 3650, "zero_or_less": 3650},
        "held_retention_days": {"default": 365, "lowest": 7, "highest": 3650, "zero_or_less": 3650},
        "cron_run_retention_days": {"default": 180, "lowest": 30, "highest": 3650, "zero_or_less": 3650},
        "engine_log_retention_days": {"default": 7, "lowest": 1, "highest": 365, "zero_or_less": 365},
        "former_owner": {"default": "off", "one_of": ["off", "on"]},
        "recall_after_minutes": {"default": 0, "lowest": 0, "highest": 1440},
        "recall_max_times": {"default": 1, "lowest": 1, "highest": 10},
        "max_tickets_ahead": {"default": 5, "lowest": 1, "highest": 100},
        "business_hours": {
            "default": "always",
            "matches": "^(always|(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))? ([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)(, (mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))? ([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)){0,20})$",
            "like": "always, or like: mon-fri 08:00-17:30, sat 08:00-12:00"
        },
        "holidays": {
            "default": "none",
            "matches": "^(none|[0-9]{4}-[01][0-9]-[0-3][0-9]([.][.][0-9]{4}-[01][0-9]-[0-3][0-9])?(, [0-9]{4}-[01][0-9]-[0-3][0-9]([.][.][0-9]{4}-[01][0-9]-[0-3][0-9])?){0,30})$",
            "like": "none, or like: 2027-02-05..2027-02-11, 2027-04-30"
        }
    }'::jsonb
$$;

CREATE VIEW public.view_pancake_setting AS
SELECT
    1 AS id,
    public.pancake_setting_value(s.setting, 'kill_switch') = 'true' AS kill_switch,
    public.pancake_setting_value(s.setting, 'processing_paused') = 'true' AS processing_paused,
    public.pancake_setting_value(s.setting, 'consent_mode') AS consent_mode,
    public.pancake_setting_value(s.setting, 'sla_minutes')::integer AS sla_minutes,
    public.pancake_setting_value(s.setting, 'replay_rate_per_second')::integer AS replay_rate_per_second,
    d.payload AS payload_retention_days,
    -- A body that is held is never emptied before one that is processed.
    CASE
        WHEN d.held >= d.payload THEN d.held
        ELSE greatest(d.payload, (public.pancake_setting_rules() -> 'held_retention_days' ->> 'default')::integer)
    END AS held_retention_days,
    public.pancake_setting_value(s.setting, 'cron_run_retention_days')::integer AS cron_run_retention_days,
    public.pancake_setting_value(s.setting, 'engine_log_retention_days')::integer AS engine_log_retention_days,
    public.pancake_setting_value(s.setting, 'former_owner') AS former_owner,
    public.pancake_setting_value(s.setting, 'recall_after_minutes')::integer AS recall_after_minutes,
    public.pancake_setting_value(s.setting, 'recall_max_times')::integer AS recall_max_times,
    public.pancake_setting_value(s.setting, 'max_tickets_ahead')::integer AS max_tickets_ahead,
    public.pancake_setting_value(s.setting, 'business_hours') AS business_hours,
    public.pancake_setting_value(s.setting, 'holidays') AS holidays,
    ARRAY(SELECT p.problem FROM public.pancake_setting_problem(s.setting) AS p ORDER BY p.problem) AS problems,
    (jsonb_path_query_first_tz(
        s.setting, '$.changed_at ? (@ like_regex "^[0-9]{4}-").datetime()', silent => true
    ) #>> '{}')::timestamptz AS changed_at,
    s.setting ->> 'changed_by' AS changed_by,
    -- Written only: the reason of a change, for the history.
    NULL::text AS change_reason
FROM (
    SELECT (SELECT a.app_settings -> 'pancake_integration' FROM public.app_setting AS a WHERE a.id = 1) AS setting OFFSET 0
) AS s
CROSS JOIN LATERAL (
    SELECT
        public.pancake_setting_value(s.setting, 'payload_retention_days')::integer AS payload,
        public.pancake_setting_value(s.setting, 'held_retention_days')::integer AS held
) AS d;

CREATE TRIGGER pancake_setting_write
    INSTEAD OF UPDATE ON public.view_pancake_setting
    FOR EACH ROW EXECUTE FUNCTION public.pancake_setting_write();

COMMENT ON VIEW public.view_pancake_setting IS 'The settings as they are used, always one row; an UPDATE changes them, within their bounds';
COMMENT ON COLUMN public.view_pancake_setting.id IS 'Always 1';
COMMENT ON COLUMN public.view_pancake_setting.kill_switch IS 'While on, leads are stored and held: no ticket is created. On if it cannot be read';
COMMENT ON COLUMN public.view_pancake_setting.processing_paused IS 'While on, stored leads wait as received and nothing is held';
COMMENT ON COLUMN public.view_pancake_setting.consent_mode IS 'off, or record: a new customer gets a consent row';
COMMENT ON COLUMN public.view_pancake_setting.sla_minutes IS 'Minutes to the first response after which a ticket is late';
COMMENT ON COLUMN public.view_pancake_setting.replay_rate_per_second IS 'How many events a second replays and the backlog of a pause are processed at';
COMMENT ON COLUMN public.view_pancake_setting.payload_retention_days IS 'Days after which bodies of finished events are emptied';
COMMENT ON COLUMN public.view_pancake_setting.held_retention_days IS 'Days after which bodies of held events are emptied';
COMMENT ON COLUMN public.view_pancake_setting.cron_run_retention_days IS 'Days after which runs of crons are deleted';
COMMENT ON COLUMN public.view_pancake_setting.engine_log_retention_days IS 'Days after which Hasura''s logs of our trigger and crons are deleted';
COMMENT ON COLUMN public.view_pancake_setting.problems IS 'What is wrong with stored settings, for which other values are used; empty if nothing is';
COMMENT ON COLUMN public.view_pancake_setting.changed_at IS 'When a setting was last changed through this view';
COMMENT ON COLUMN public.view_pancake_setting.changed_by IS 'Who changed it';
COMMENT ON TRIGGER pancake_setting_write ON public.view_pancake_setting IS 'Makes the view writable';
COMMENT ON COLUMN public.view_pancake_setting.former_owner IS 'Whether a returning customer gets the former owner before the turns: off or on';
COMMENT ON COLUMN public.view_pancake_setting.recall_after_minutes IS 'Business minutes without a first response after which a ticket gets another owner; 0 is never';
COMMENT ON COLUMN public.view_pancake_setting.recall_max_times IS 'How often a ticket is recalled at most';
COMMENT ON COLUMN public.view_pancake_setting.max_tickets_ahead IS 'How many tickets a member may be ahead of the others by former customers and recalls';
COMMENT ON COLUMN public.view_pancake_setting.business_hours IS 'The business hours of a week in Vietnam, in which responses are measured besides the clock';
COMMENT ON COLUMN public.view_pancake_setting.holidays IS 'Dates without business hours';
COMMENT ON COLUMN public.view_pancake_setting.change_reason IS 'Write only: why a screen changes the settings; the history keeps it';

UPDATE public.app_setting
SET app_settings = jsonb_set(
    app_settings, '{pancake_integration}', (app_settings -> 'pancake_integration') - '{waiting_share_minutes,sla_hours}'::text[]
)
WHERE id = 1 AND jsonb_typeof(app_settings -> 'pancake_integration') = 'object';
