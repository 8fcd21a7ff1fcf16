-- Add the settings morning_message and morning_message_at: what the managers are told each morning, and when.
-- Rules and view are changed as they are found, so that settings of other migrations stay.
-- Anchor: 1 check that the table exists, 2 check the form of the view, 3 keep existing settings, 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    rules CONSTANT jsonb := public.pancake_setting_rules() || '{
        "morning_message": {"default": "off", "one_of": ["off", "on"]},
        "morning_message_at": {"default": "07:30", "matches": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "like": "a time, like 07:30"}
    }';
    -- What follows the columns of the view, as PostgreSQL shows it.
    source CONSTANT text := '\s+FROM\s*\(+\s*SELECT\s*\(\s*SELECT';
    shown text;
    changed bigint;
BEGIN
    IF to_regclass('public.app_setting') IS NULL THEN
        RAISE EXCEPTION 'table app_setting does not exist';
    END IF;
    -- So that the definition names the schemas.
    PERFORM set_config('search_path', 'pg_catalog', true);
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION public.pancake_setting_rules() RETURNS jsonb LANGUAGE sql IMMUTABLE AS %L',
        'SELECT ' || quote_literal(rules::text) || '::jsonb'
    );
    shown := pg_get_viewdef('public.view_pancake_setting'::regclass);
    IF strpos(shown, 'morning_message') = 0 THEN
        IF regexp_count(shown, source) <> 1 THEN
            RAISE EXCEPTION 'view_pancake_setting has another form than this migration expects';
        END IF;
        EXECUTE 'CREATE OR REPLACE VIEW public.view_pancake_setting AS ' || regexp_replace(
            shown, '(' || source || ')',
            ', public.pancake_setting_value(s.setting, ''morning_message'') AS morning_message, '
                'public.pancake_setting_value(s.setting, ''morning_message_at'') AS morning_message_at\1'
        );
    END IF;
    UPDATE public.app_setting
    SET app_settings = app_settings || jsonb_build_object(
        'pancake_integration',
        '{"morning_message": "off", "morning_message_at": "07:30"}'::jsonb
            || CASE WHEN jsonb_typeof(app_settings -> 'pancake_integration') = 'object' THEN app_settings -> 'pancake_integration' ELSE '{}' END
    )
    WHERE id = 1 AND jsonb_typeof(app_settings) = 'object';
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> 1 THEN
        RAISE EXCEPTION 'app_setting has no row 1 with a JSON object in app_settings';
    END IF;
END
$$;

COMMENT ON COLUMN public.view_pancake_setting.morning_message IS 'Whether the managers get a message each morning: off or on';
COMMENT ON COLUMN public.view_pancake_setting.morning_message_at IS 'When they get it, in Vietnam';
