-- Delete the module pancake_crm_integration and its actions.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regclass('public.module_permission_action') IS NULL THEN
        RAISE EXCEPTION 'table module_permission_action does not exist';
    END IF;
    DELETE FROM public.module_permission_action WHERE module = 'pancake_crm_integration';
    IF EXISTS (SELECT FROM public.module_permission_action WHERE module = 'pancake_crm_integration') THEN
        RAISE EXCEPTION 'module_permission_action still has rows of pancake_crm_integration after their deletion';
    END IF;
END
$$;
