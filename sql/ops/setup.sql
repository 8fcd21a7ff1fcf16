-- name: setup/load_owner
-- Load what the login of the setup may do. `tables` are the names of Diva's tables.
-- Returns one row: login, database, has_any (of those tables), not_owned (those that belong to others), may_create (tables in
-- public), may_create_roles, is_superuser. Relies on the catalog alone.
SELECT
    quote_ident(r.rolname) AS login,
    current_database() AS database,
    EXISTS (
        SELECT FROM unnest(%(tables)s::text[]) AS t (name) WHERE to_regclass('public.' || t.name) IS NOT NULL
    ) AS has_any,
    ARRAY(
        SELECT c.relname::text
        FROM pg_catalog.pg_class AS c
        WHERE c.oid = ANY (SELECT to_regclass('public.' || t.name) FROM unnest(%(tables)s::text[]) AS t (name))
            AND NOT pg_has_role(c.relowner, 'USAGE')
        ORDER BY c.relname
    ) AS not_owned,
    has_schema_privilege('public', 'CREATE') AS may_create,
    r.rolsuper OR r.rolcreaterole AS may_create_roles,
    r.rolsuper AS is_superuser
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = current_user

-- name: setup/load_engine_rights
-- Look whether the login of the setup may grant rights on Hasura's tables, and Hasura may use the tables that the login makes.
-- `engine` is the engine's own login.
-- Returns one row: login, engine, owner (a role that owns some of Hasura's tables, or will, and whose rights the login lacks; null without one),
-- covers_login (that role has the rights of the login), inherits (the login has the rights of its roles by itself), version, has_tables
-- (the engine gets rights on new tables of the login). Relies on the catalog alone.
SELECT
    quote_ident(r.rolname) AS login,
    quote_ident(e.rolname) AS engine,
    o.owner::regrole::text AS owner,
    COALESCE(pg_has_role(o.owner, r.oid, 'USAGE'), false) AS covers_login,
    r.rolinherit AS inherits,
    current_setting('server_version_num')::integer AS version,
    pg_has_role(e.oid, r.oid, 'USAGE') OR (
        SELECT count(DISTINCT a.privilege_type) = 5
        FROM pg_catalog.pg_default_acl AS d
        CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
        WHERE d.defaclrole = r.oid AND d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, 'public'::regnamespace)
            AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRIGGER')
            AND (a.grantee = 0 OR pg_has_role(e.oid, a.grantee, 'USAGE'))
    ) AS has_tables
FROM pg_catalog.pg_roles AS r
CROSS JOIN pg_catalog.pg_roles AS e
LEFT JOIN LATERAL (
    SELECT f.owner
    FROM (
        SELECT e.oid AS owner
        UNION ALL
        SELECT n.nspowner FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'hdb_catalog'
        UNION ALL
        SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.relnamespace = to_regnamespace('hdb_catalog')
    ) AS f
    WHERE NOT pg_has_role(r.oid, f.owner, 'USAGE')
    ORDER BY f.owner
    LIMIT 1
) AS o ON true
WHERE r.rolname = current_user AND e.rolname = %(engine)s

-- name: setup/count_sessions
-- Count the open sessions of a login in this database. Returns one row: sessions. Relies on the sessions of the server.
SELECT count(*) AS sessions
FROM pg_catalog.pg_stat_activity AS a
WHERE a.usename = %(login)s AND a.datname = current_database()

-- name: setup/list_logins
-- Look at the logins of handlers and operators; `logins` and `roles` are their names and those of their roles.
-- Returns one row per login: login, role, has_role (the role is there), is_there, is_member. Relies on the catalog alone.
SELECT
    n.login,
    n.role,
    g.oid IS NOT NULL AS has_role,
    l.oid IS NOT NULL AS is_there,
    COALESCE(l.rolcanlogin AND pg_has_role(l.oid, g.oid, 'MEMBER'), false) AS is_member
FROM unnest(%(logins)s::text[], %(roles)s::text[]) AS n (login, role)
LEFT JOIN pg_catalog.pg_roles AS l ON l.rolname = n.login
LEFT JOIN pg_catalog.pg_roles AS g ON g.rolname = n.role
ORDER BY n.login

-- name: setup/list_staff
-- List the active staff, of whom a roster names some by id or name, or all with a role. `word` is in lower case.
-- Returns rows: id, full_name, role, has_role. Relies on staff, which is small.
SELECT
    s.id::text AS id, s.full_name, s.role,
    coalesce(lower(s.role) IN (%(word)s, lower(public.pancake_staff_role(%(word)s))), FALSE) AS has_role
FROM public.staff AS s
WHERE s.is_active
ORDER BY s.full_name, s.id

-- name: setup/insert_member
-- Put a member of staff into the default roster; one who is in it stays as he is. Returns nothing. Relies on uq_pancake_assignee.
INSERT INTO public.pancake_assignee (staff_id, weight)
VALUES (%(staff_id)s, %(weight)s)
ON CONFLICT ON CONSTRAINT uq_pancake_assignee DO NOTHING

-- name: setup/count_waiting
-- Count the leads of which an event is held, waits, failed or is a dead letter. Returns one row: leads.
-- Relies on no index: an undo reads all events once.
SELECT count(DISTINCT (e.connection_id, COALESCE(e.record_id, e.id::text))) AS leads
FROM public.pancake_webhook_event AS e
WHERE e.status <> 'processed'

-- name: setup/load_test
-- Load what a test lead is made of. Returns one row: workspace_id, source_id (Pancake's id of an active source, null without one).
-- Relies on pancake_connection and pancake_source, which are small.
SELECT c.workspace_id, s.pancake_source_id AS source_id
FROM public.pancake_connection AS c
CROSS JOIN LATERAL (
    SELECT array_agg(p.pancake_source_id) AS ids FROM public.pancake_source AS p WHERE p.connection_id = c.id
) AS a
LEFT JOIN LATERAL public.pancake_active_source(c.id, a.ids) AS s ON true
ORDER BY s.pancake_source_id
LIMIT 1

-- name: setup/allow_deletion
-- Let this transaction delete events: those of test leads, of which Pancake has no copy. Returns one row. Relies on no table.
SELECT set_config('pancake.delete_events', 'on', true)

-- name: setup/delete_test_leads
-- Delete the events of test leads: no figure, report, replay or comparison with Pancake ever counts them.
-- Returns a row per event: ticket_id (null without one), as the last transaction left it. Relies on uq_pancake_webhook_event_identity.
DELETE FROM public.pancake_webhook_event AS e
WHERE e.record_id = %(record_id)s
RETURNING e.ticket_id

-- name: setup/list_tickets
-- Name the tickets `ids`. Returns a row per ticket: code. Relies on the primary key of ticket.
SELECT DISTINCT t.code
FROM public.ticket AS t
WHERE t.id = ANY (%(ids)s)
ORDER BY t.code
