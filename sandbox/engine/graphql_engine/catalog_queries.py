"""The statements that read PostgreSQL's catalog for `catalog`."""

COLUMNS = """
SELECT n.nspname AS schema, c.relname AS "table", c.relkind::text AS relkind,
       obj_description(c.oid, 'pg_class') AS table_comment,
       pg_relation_is_updatable(c.oid, true) AS events,
       a.attname AS name, NOT a.attnotnull AS nullable, a.atthasdef AS has_default,
       a.attgenerated <> '' AS generated, a.attidentity::text AS identity,
       col_description(c.oid, a.attnum) AS comment,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END::int8 AS type
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hdb_catalog') AND n.nspname !~ '^pg_t'
ORDER BY n.nspname, c.relname, a.attnum
"""

CONSTRAINTS = """
SELECT n.nspname AS schema, c.relname AS "table", k.conname AS name, k.contype::text AS kind,
       (SELECT array_agg(a.attname::text ORDER BY u.i) FROM unnest(k.conkey) WITH ORDINALITY u (n, i)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n) AS columns,
       fn.nspname AS target_schema, fc.relname AS target_table,
       (SELECT array_agg(a.attname::text ORDER BY u.i) FROM unnest(k.confkey) WITH ORDINALITY u (n, i)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n) AS target_columns
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class fc ON fc.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = fc.relnamespace
WHERE k.contype IN ('p', 'u', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hdb_catalog')
ORDER BY k.conname
"""

TYPES = """
SELECT t.oid::int8 AS oid, format_type(t.oid, -1) AS name, t.typname AS internal, t.typtype::text AS kind,
       CASE WHEN t.typcategory = 'A' THEN t.typelem::int8 END AS element
FROM pg_type t
"""
