-- Add the module pancake_crm_integration with its six actions for administrators. Managers and telesales staff get none.
-- Anchor: 1 check that the table exists, 2 check that the module grants nothing to another role, 3 write so that a second
-- run is harmless, 4 check the result.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    admin CONSTANT text := public.pancake_staff_role('admin');
    found bigint;
BEGIN
    IF to_regclass('public.module_permission_action') IS NULL THEN
        RAISE EXCEPTION 'table module_permission_action does not exist';
    END IF;
    SELECT count(*) INTO found
    FROM public.module_permission_action
    WHERE module = 'pancake_crm_integration' AND role IS DISTINCT FROM admin;
    IF found > 0 THEN
        RAISE EXCEPTION 'module pancake_crm_integration already grants % actions to roles other than %: remove them first', found, admin;
    END IF;
    INSERT INTO public.module_permission_action (module, action, role)
    SELECT 'pancake_crm_integration', a.action, admin
    FROM unnest(ARRAY['access', 'view_events', 'replay', 'manage_connection', 'manage_sources', 'kill_switch']) AS a (action)
    WHERE NOT EXISTS (
        SELECT FROM public.module_permission_action AS m
        WHERE m.module = 'pancake_crm_integration' AND m.action = a.action AND m.role = admin
    );
    SELECT count(*) INTO found FROM public.module_permission_action WHERE module = 'pancake_crm_integration';
    IF found <> 6 THEN
        RAISE EXCEPTION 'module pancake_crm_integration: expected 6 actions, found %', found;
    END IF;
END
$$;
