-- The module pancake_crm_integration with its six actions, for Admin alone: nothing for Manager or Telesale.
-- Anchor: 1 the table exists, 2 the module is ours to write, 3 the write may run twice, 4 its result is checked.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
DECLARE
    found bigint;
BEGIN
    IF to_regclass('public.module_permission_action') IS NULL THEN
        RAISE EXCEPTION 'module_permission_action does not exist';
    END IF;
    SELECT count(*) INTO found
    FROM public.module_permission_action
    WHERE module = 'pancake_crm_integration' AND role <> 'admin';
    IF found > 0 THEN
        RAISE EXCEPTION 'pancake_crm_integration already grants % actions to roles other than admin', found;
    END IF;
    INSERT INTO public.module_permission_action (module, action, role)
    SELECT 'pancake_crm_integration', a.action, 'admin'
    FROM unnest(ARRAY['access', 'view_events', 'replay', 'manage_connection', 'manage_sources', 'kill_switch']) AS a (action)
    WHERE NOT EXISTS (
        SELECT FROM public.module_permission_action AS m
        WHERE m.module = 'pancake_crm_integration' AND m.action = a.action AND m.role = 'admin'
    );
    SELECT count(*) INTO found FROM public.module_permission_action WHERE module = 'pancake_crm_integration';
    IF found <> 6 THEN
        RAISE EXCEPTION 'pancake_crm_integration has % actions instead of 6', found;
    END IF;
END
$$;
