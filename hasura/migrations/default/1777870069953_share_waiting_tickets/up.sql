-- Share tickets that waited for an owner among those who are about to come, watch tickets until they are answered, and add the settings
-- waiting_share_minutes and sla_hours.
-- Anchor: 1 check that the table exists, 2 check that row 1 holds an object, 3 keep existing settings, 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

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
        "waiting_share_minutes": {"default": 30, "lowest": 0, "highest": 240},
        "sla_hours": {"default": "all", "one_of": ["all", "business"]},
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

CREATE OR REPLACE VIEW public.view_pancake_setting AS
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
    NULL::text AS change_reason,
    public.pancake_setting_value(s.setting, 'waiting_share_minutes')::integer AS waiting_share_minutes,
    public.pancake_setting_value(s.setting, 'sla_hours') AS sla_hours
FROM (
    SELECT (SELECT a.app_settings -> 'pancake_integration' FROM public.app_setting AS a WHERE a.id = 1) AS setting OFFSET 0
) AS s
CROSS JOIN LATERAL (
    SELECT
        public.pancake_setting_value(s.setting, 'payload_retention_days')::integer AS payload,
        public.pancake_setting_value(s.setting, 'held_retention_days')::integer AS held
) AS d;

COMMENT ON COLUMN public.view_pancake_setting.waiting_share_minutes IS 'How many minutes before and after the beginning of a shift or business day shares of waiting tickets are kept for its members; 0 is never';
COMMENT ON COLUMN public.view_pancake_setting.sla_hours IS 'Which minutes count until the managers are told of a late ticket: all, or those of business hours';

DO $$
DECLARE
    changed bigint;
BEGIN
    IF to_regclass('public.app_setting') IS NULL THEN
        RAISE EXCEPTION 'table app_setting does not exist';
    END IF;
    UPDATE public.app_setting
    SET app_settings = app_settings || jsonb_build_object(
        'pancake_integration',
        '{"waiting_share_minutes": 30, "sla_hours": "all"}'::jsonb
            || CASE WHEN jsonb_typeof(app_settings -> 'pancake_integration') = 'object' THEN app_settings -> 'pancake_integration' ELSE '{}' END
    )
    WHERE id = 1 AND jsonb_typeof(app_settings) = 'object';
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> 1 THEN
        RAISE EXCEPTION 'app_setting has no row 1 with a JSON object in app_settings';
    END IF;
END
$$;

-- Whether business hours begin after one moment and not after another, in Vietnam, and on none of `off_days`. `hours` has the form of
-- the setting business_hours; `always` never begins.
CREATE OR REPLACE FUNCTION public.pancake_hours_begin(hours text, off_days text, since timestamptz, until timestamptz) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT hours <> 'always' AND EXISTS (
        SELECT
        FROM (SELECT since AT TIME ZONE 'Asia/Ho_Chi_Minh' AS since, until AT TIME ZONE 'Asia/Ho_Chi_Minh' AS until) AS l
        CROSS JOIN generate_series(date_trunc('day', l.since), l.until, interval '1 day') AS d (day)
        JOIN public.pancake_business_period(hours) AS p ON p.weekday = extract(isodow FROM d.day)
        WHERE
            d.day + p.opens > l.since AND d.day + p.opens <= l.until
            AND NOT EXISTS (
                SELECT FROM regexp_split_to_table(off_days, ', ') AS h (entry)
                WHERE to_char(d.day, 'YYYY-MM-DD') BETWEEN split_part(h.entry, '..', 1) AND right(h.entry, 10)
            )
    )
$$;
COMMENT ON FUNCTION public.pancake_hours_begin(text, text, timestamptz, timestamptz) IS 'Whether business hours begin in a period of time';

-- Until when a share of the tickets that wait is kept for the member, who is about to come.
ALTER TABLE public.pancake_assignee ADD COLUMN IF NOT EXISTS share_until timestamptz;
COMMENT ON COLUMN public.pancake_assignee.share_until IS 'Until when a share of the waiting tickets is kept for the member';

-- Since when check_sla and retry_failed watch the ticket that the event wrote; null once they saw it answered, closed or deleted.
ALTER TABLE public.pancake_webhook_event ADD COLUMN IF NOT EXISTS ticket_watched_at timestamptz;
COMMENT ON COLUMN public.pancake_webhook_event.ticket_watched_at IS 'Since when the ticket is watched for its first response; null once it has one';
-- The column is new and null in every row, so the index has nothing to sort: about 0.3 s for a million events.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX IF NOT EXISTS ix_pancake_webhook_event_watched ON public.pancake_webhook_event (ticket_watched_at)
    WHERE ticket_watched_at IS NOT NULL;

-- Late tickets were looked for by it.
DROP INDEX IF EXISTS public.ix_pancake_webhook_event_waited;

UPDATE public.pancake_webhook_event AS e
SET ticket_watched_at = t.created_at
FROM public.ticket AS t
WHERE
    t.id = e.ticket_id AND t.first_response_at IS NULL AND public.pancake_ticket_is_open(t.status)
    AND e.outcome = 'ticket_created' AND e.ticket_watched_at IS NULL;
