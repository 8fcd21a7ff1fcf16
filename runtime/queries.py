"""The SQL statements: one per file under sql/, named `folder/file` without the ending."""

from pathlib import Path

SQL_FOLDER = Path(__file__).resolve().parent.parent / "sql"


def load_queries(folder: Path = SQL_FOLDER) -> dict[str, bytes]:
    """Every statement by its name, as the bytes that psycopg takes for a statement that is no f-string."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.sql"))
    }


QUERIES = load_queries()
