-- name: setup/load_owner
-- Load what the login of the setup may do. `tables` are the names of Diva's tables.
-- Returns one row: login, not_owned (those tables that belong to others), may_create (tables in public), may_create_roles,
-- is_superuser. Relies on the catalog alone.
SELECT
    r.rolname AS login,
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

-- name: setup/find_staff
-- Find the active staff that a roster names, by id or by name. `words` are those of the answer.
-- Returns rows: word, id, full_name. Relies on staff, which is small.
SELECT w.word, s.id, s.full_name
FROM unnest(%(words)s::text[]) AS w (word)
INNER JOIN public.staff AS s ON s.is_active AND w.word IN (s.id::text, s.full_name)
ORDER BY w.word, s.full_name

-- name: setup/insert_member
-- Put a member of staff into the default roster; one who is in it stays as he is. Returns nothing. Relies on uq_pancake_assignee.
INSERT INTO public.pancake_assignee (staff_id, weight)
VALUES (%(staff_id)s, %(weight)s)
ON CONFLICT ON CONSTRAINT uq_pancake_assignee DO NOTHING

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
-- Returns nothing. Relies on uq_pancake_webhook_event_identity.
DELETE FROM public.pancake_webhook_event AS e
WHERE e.record_id = %(record_id)s
