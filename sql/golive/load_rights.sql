-- Compare the rights of the roles with those that deploy/postgres/grant_roles.sql gives; `rights` is its list, as JSON.
-- Returns one row: granted (number of rights on tables that the roles have by name), missing and further (texts, one for each right).
-- A table of Hasura counts only if it is in this database. Relies on the catalog alone.
WITH listed AS (
    SELECT r.role AS role_name, r.name, r.privilege, c.column_name
    FROM jsonb_to_recordset(%(rights)s::jsonb) AS r (role text, name text, privilege text, columns text[])
    LEFT JOIN LATERAL unnest(r.columns) AS c (column_name) ON true
    WHERE r.name NOT LIKE 'hdb\_catalog.%%' OR to_regclass(r.name) IS NOT NULL
), on_tables AS (
    SELECT concat_ws(' ', l.role_name, l.privilege, l.name, l.column_name) AS name, CASE
        WHEN l.column_name IS NULL THEN has_table_privilege(to_regrole(l.role_name)::oid, to_regclass(l.name)::oid, l.privilege)
        ELSE has_column_privilege(to_regrole(l.role_name)::oid, to_regclass(l.name)::oid, a.attnum, l.privilege)
    END AS is_there
    FROM listed AS l
    LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = to_regclass(l.name) AND a.attname = l.column_name AND NOT a.attisdropped
), roles AS (
    SELECT DISTINCT l.role_name FROM listed AS l
), on_others AS (
    SELECT concat_ws(' ', r.role_name, 'USAGE schema', s.nspname) AS name,
        has_schema_privilege(to_regrole(r.role_name)::oid, s.oid, 'USAGE') AS is_there
    FROM roles AS r
    CROSS JOIN pg_catalog.pg_namespace AS s
    WHERE s.nspname IN ('public', 'hdb_catalog')
    UNION ALL
    SELECT concat_ws(' ', r.role_name, 'EXECUTE', f.oid::regprocedure), has_function_privilege(to_regrole(r.role_name)::oid, f.oid, 'EXECUTE')
    FROM roles AS r
    INNER JOIN pg_catalog.pg_proc AS f ON r.role_name = 'pancake_handlers' OR NOT f.prosecdef
    WHERE f.pronamespace = to_regnamespace('public') AND f.proname LIKE 'pancake\_%%' AND f.prorettype <> 'trigger'::regtype
        OR f.pronamespace = to_regnamespace('hdb_catalog') AND f.proname IN ('insert_event_log', 'gen_hasura_uuid')
    UNION ALL
    SELECT DISTINCT 'pancake_handlers USAGE ' || p.refobjid::regclass,
        CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(to_regrole('pancake_handlers')::oid, s.oid, 'USAGE') END
    FROM pg_catalog.pg_attrdef AS d
    INNER JOIN pg_catalog.pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
    INNER JOIN pg_catalog.pg_class AS s ON s.oid = p.refobjid AND p.refclassid = 'pg_class'::regclass AND s.relkind = 'S'
    WHERE d.adrelid IN (
        to_regclass('public.account'), to_regclass('public.contact_book'), to_regclass('public.ticket'), to_regclass('public.customer_consent')
    )
), granted AS (
    SELECT r.role_name, concat_ws('.', s.nspname, c.relname) AS name, g.privilege_type, g.column_name
    FROM roles AS r
    CROSS JOIN pg_catalog.pg_class AS c
    INNER JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace AND s.nspname IN ('public', 'hdb_catalog')
    CROSS JOIN LATERAL (
        SELECT t.privilege_type, NULL AS column_name FROM aclexplode(c.relacl) AS t WHERE t.grantee = to_regrole(r.role_name)
        UNION ALL
        SELECT t.privilege_type, a.attname
        FROM pg_catalog.pg_attribute AS a
        CROSS JOIN LATERAL aclexplode(a.attacl) AS t
        WHERE a.attrelid = c.oid AND t.grantee = to_regrole(r.role_name)
    ) AS g
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
), further AS (
    SELECT concat_ws(' ', g.role_name, g.privilege_type, g.name, g.column_name) AS name FROM granted AS g
    EXCEPT
    SELECT concat_ws(' ', l.role_name, l.privilege, l.name, l.column_name) FROM listed AS l
    UNION ALL
    SELECT concat_ws(' ', r.role_name, 'is a superuser, passes row security, or creates roles or databases')
    FROM roles AS r
    INNER JOIN pg_catalog.pg_roles AS p ON p.rolname = r.role_name
    WHERE p.rolsuper OR p.rolbypassrls OR p.rolcreaterole OR p.rolcreatedb OR p.rolreplication
)
SELECT
    (SELECT count(*) FROM granted) AS granted,
    ARRAY(
        SELECT m.name FROM (SELECT t.name, t.is_there FROM on_tables AS t UNION ALL SELECT o.name, o.is_there FROM on_others AS o) AS m
        WHERE m.is_there IS NOT TRUE
        ORDER BY m.name
    ) AS missing,
    ARRAY(SELECT f.name FROM further AS f ORDER BY f.name) AS further
