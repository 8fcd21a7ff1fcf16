"""The SQL statements under sql/, each below a line `-- name: subject/statement`."""

import re
from collections.abc import Iterator
from pathlib import Path

SQL_FOLDER = Path(__file__).resolve().parents[2] / "sql"
_NAME = re.compile(r"^-- name: (.+)\n", re.MULTILINE)


def load_queries(*folders: Path) -> dict[str, bytes]:
    """Load the statements of the files in folders, by name, without comment lines and indentation.

    Bytes, because psycopg takes text only from literals. Raises ValueError if a name stands twice.
    """
    queries: dict[str, bytes] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.sql")):
        for name, text in split(path.read_text("utf-8")):
            if name in queries:
                raise ValueError(f"{path}: {name} stands twice")
            lines = (line.strip() for line in text.splitlines())
            queries[name] = " ".join(line for line in lines if line and not line.startswith("--")).encode()
    return queries


def split(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each statement of a file. Raises ValueError for one without a name."""
    before, *parts = _NAME.split(text)
    if before.strip():
        raise ValueError(f"no name stands above {before.strip().splitlines()[0]!r}")
    yield from zip(parts[::2], parts[1::2], strict=True)


QUERIES = load_queries(SQL_FOLDER, SQL_FOLDER / "kpi")
"""The statements of the server. Those of the operators' command are in ops/queries.py."""
