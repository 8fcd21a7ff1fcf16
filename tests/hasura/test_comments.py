"""Everything of ours in the database has a comment: the console, GraphiQL and psql show it."""

import psycopg
import pytest

OURS = "^(view_)?(pancake|integration_change|customer_erasure)"
OBJECTS = {
    "table or view": """
        SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class AS c
        WHERE c.relkind IN ('r', 'v') AND c.relnamespace = 'public'::regnamespace AND c.relname ~ %(ours)s
    """,
    "column": """
        SELECT c.relname || '.' || a.attname, col_description(c.oid, a.attnum)
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname ~ %(ours)s
        UNION ALL
        SELECT a.attrelid::regclass || '.' || a.attname, col_description(a.attrelid, a.attnum)
        FROM pg_attribute AS a
        WHERE (a.attrelid::regclass::text, a.attname) IN (
            ('account', 'normalized_phone'), ('account', 'pancake_metadata'),
            ('contact_book', 'primary_phone')
        )
    """,
    "function": """
        SELECT p.oid::regprocedure::text, obj_description(p.oid, 'pg_proc') FROM pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace
            AND (p.proname ~ %(ours)s OR p.proname = 'account_clear_normalized_phone')
    """,
    "trigger": """
        SELECT t.tgname || ' on ' || t.tgrelid::regclass, obj_description(t.oid, 'pg_trigger')
        FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND p.pronamespace = 'public'::regnamespace
            AND (p.proname ~ %(ours)s OR p.proname = 'account_clear_normalized_phone')
    """,
}
FEWEST = {"table or view": 10, "column": 150, "function": 39, "trigger": 19}


@pytest.mark.parametrize("kind", OBJECTS)
def test_it_has_a_comment(constrained: psycopg.Connection, kind: str) -> None:
    comments: dict[str, str | None] = dict(
        constrained.execute(OBJECTS[kind].encode(), {"ours": OURS}).fetchall()
    )
    assert [name for name, comment in comments.items() if not comment] == []
    assert len(comments) >= FEWEST[kind]


def test_the_table_of_events_says_that_rows_are_kept(constrained: psycopg.Connection) -> None:
    (comment,) = constrained.execute(
        "SELECT obj_description('pancake_webhook_event'::regclass, 'pg_class')"
    ).fetchone() or ("",)
    assert "Rows are not deleted" in comment
    assert "Retention (purge_events) and leads erase alone" in comment
