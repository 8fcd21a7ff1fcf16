"""The SQL statements: one per file under sql/, named `folder/file` without the ending."""

from pathlib import Path

SQL_FOLDER = Path(__file__).resolve().parents[2] / "sql"
MAX_STATEMENT_BYTES = 4096
"""psycopg parses the placeholders of a longer statement again at each execution (`psycopg._queries`)."""


def load_queries(folder: Path = SQL_FOLDER) -> dict[str, bytes]:
    """Load every statement by its name, without comment lines and indentation.

    Bytes, because psycopg takes text only from literals. Raises ValueError for a statement that is too long.
    """
    return {
        path.relative_to(folder).with_suffix("").as_posix(): _compact(path)
        for path in sorted(folder.rglob("*.sql"))
    }


def _compact(path: Path) -> bytes:
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    statement = " ".join(line for line in lines if line and not line.startswith("--")).encode()
    if len(statement) > MAX_STATEMENT_BYTES:
        raise ValueError(
            f"{path} has {len(statement)} bytes without comments, the limit is {MAX_STATEMENT_BYTES}"
        )
    return statement


QUERIES = load_queries()
