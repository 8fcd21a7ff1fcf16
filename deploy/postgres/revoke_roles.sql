-- Take back what grant_roles.sql granted in this database: afterwards pancake_handlers and pancake_operators have no right in it.
-- The roles and their logins stay: other databases of the server may use them. Run it as the owner of the tables (or a superuser),
-- when the integration is removed for good; docs/runbook/rollback.md.
DO $$
DECLARE
    roles CONSTANT text[] := '{pancake_handlers,pancake_operators}';
    item record;
    not_mine text[] := '{}';
BEGIN
    FOR item IN
        SELECT DISTINCT
            CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, r.role_name
        FROM unnest(roles) AS r (role_name)
        JOIN pg_catalog.pg_roles AS p ON p.rolname = r.role_name
        CROSS JOIN pg_catalog.pg_class AS c
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
        CROSS JOIN LATERAL aclexplode(c.relacl || a.attacl) AS g
        WHERE g.grantee = p.oid AND c.relkind IN ('r', 'p', 'v', 'S')
        UNION
        SELECT 'FUNCTION', f.oid::regprocedure::text, r.role_name
        FROM unnest(roles) AS r (role_name)
        JOIN pg_catalog.pg_roles AS p ON p.rolname = r.role_name
        CROSS JOIN pg_catalog.pg_proc AS f
        CROSS JOIN LATERAL aclexplode(f.proacl) AS g
        WHERE g.grantee = p.oid
        UNION
        SELECT 'SCHEMA', quote_ident(n.nspname), r.role_name
        FROM unnest(roles) AS r (role_name)
        JOIN pg_catalog.pg_roles AS p ON p.rolname = r.role_name
        CROSS JOIN pg_catalog.pg_namespace AS n
        CROSS JOIN LATERAL aclexplode(n.nspacl) AS g
        WHERE g.grantee = p.oid
    LOOP
        BEGIN
            EXECUTE format('REVOKE ALL ON %s %s FROM %I', item.kind, item.name, item.role_name);
        EXCEPTION WHEN insufficient_privilege THEN
            not_mine := not_mine || item.name;
        END;
    END LOOP;
    SELECT pg_has_role(c.relowner, 'USAGE') AS is_mine INTO item
    FROM pg_catalog.pg_policy AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
    WHERE p.polname = 'pancake_as_before';
    IF FOUND AND NOT item.is_mine THEN
        not_mine := not_mine || 'hdb_catalog.event_log'::text;
    ELSIF FOUND THEN
        PERFORM set_config('lock_timeout', '5s', true);
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = to_regclass('hdb_catalog.event_log') AND p.polname NOT LIKE 'pancake\_%') THEN
            ALTER TABLE hdb_catalog.event_log DISABLE ROW LEVEL SECURITY;
        END IF;
        DROP POLICY pancake_as_before ON hdb_catalog.event_log;
        DROP POLICY IF EXISTS pancake_events_of_their_writes ON hdb_catalog.event_log;
    END IF;
    IF not_mine <> '{}' THEN
        RAISE WARNING 'not taken back, because another role owns these: %. Run this as that role too', (SELECT string_agg(DISTINCT m.name, ', ') FROM unnest(not_mine) AS m (name));
    END IF;
END
$$;
