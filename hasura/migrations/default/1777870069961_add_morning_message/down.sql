-- Remove the settings morning_message and morning_message_at; the others stay as they are. The view is made anew: run
-- deploy/postgres/grant_roles.sql again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    rules CONSTANT jsonb := public.pancake_setting_rules() - '{morning_message,morning_message_at}'::text[];
    shown text;
    comments text[];
    comment text;
BEGIN
    IF to_regclass('public.view_pancake_setting') IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('search_path', 'pg_catalog', true);
    shown := regexp_replace(
        pg_get_viewdef('public.view_pancake_setting'::regclass),
        ',\s+public\.pancake_setting_value\(s\.setting, ''morning_message(_at)?''::text\) AS morning_message(_at)?', '', 'g'
    );
    SELECT array_agg(format('COMMENT ON COLUMN public.view_pancake_setting.%I IS %L', a.attname, d.description) ORDER BY a.attnum) INTO comments
    FROM pg_attribute AS a
    JOIN pg_description AS d ON d.objoid = a.attrelid AND d.objsubid = a.attnum AND d.classoid = 'pg_class'::regclass
    WHERE a.attrelid = 'public.view_pancake_setting'::regclass AND a.attname NOT LIKE 'morning\_%';
    DROP VIEW public.view_pancake_setting;
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION public.pancake_setting_rules() RETURNS jsonb LANGUAGE sql IMMUTABLE AS %L',
        'SELECT ' || quote_literal(rules::text) || '::jsonb'
    );
    EXECUTE 'CREATE VIEW public.view_pancake_setting AS ' || shown;
    FOREACH comment IN ARRAY comments LOOP
        EXECUTE comment;
    END LOOP;
    UPDATE public.app_setting AS a
    SET app_settings = jsonb_set(
        a.app_settings, '{pancake_integration}',
        (a.app_settings -> 'pancake_integration') - '{morning_message,morning_message_at}'::text[]
    )
    WHERE a.id = 1 AND jsonb_typeof(a.app_settings -> 'pancake_integration') = 'object';
END
$$;

CREATE TRIGGER pancake_setting_write
    INSTEAD OF UPDATE ON public.view_pancake_setting
    FOR EACH ROW EXECUTE FUNCTION public.pancake_setting_write();

COMMENT ON VIEW public.view_pancake_setting IS 'The settings as they are used, always one row; an UPDATE changes them, within their bounds';
COMMENT ON TRIGGER pancake_setting_write ON public.view_pancake_setting IS 'Makes the view writable';
