-- The logins of a managed PostgreSQL: `owner` owns Diva's tables, `engine` Hasura's; neither is a superuser.
CREATE ROLE {owner} LOGIN PASSWORD 'x';
GRANT USAGE, CREATE ON SCHEMA public TO {owner};
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT oid::regclass FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {owner}', name);
    END LOOP;
END
$$;
ALTER SEQUENCE ticket_code_seq OWNER TO {owner};
CREATE ROLE {engine} LOGIN PASSWORD 'x';
GRANT CREATE ON DATABASE {database} TO {engine};
GRANT ALL ON ALL TABLES IN SCHEMA public TO {engine};
ALTER SCHEMA hdb_catalog OWNER TO {engine};
DO $$
DECLARE item text;
BEGIN
    FOR item IN
        SELECT format('TABLE %s', c.oid::regclass) FROM pg_class AS c
        WHERE c.relnamespace = 'hdb_catalog'::regnamespace AND c.relkind = 'r'
        UNION ALL
        SELECT format('FUNCTION %s', p.oid::regprocedure) FROM pg_proc AS p
        WHERE p.pronamespace = 'hdb_catalog'::regnamespace
    LOOP
        EXECUTE format('ALTER %s OWNER TO {engine}', item);
    END LOOP;
END
$$;
