"""The environment of `psql` and of PostgreSQL's other programs."""

from psycopg.conninfo import conninfo_to_dict

NAMES = {
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
}


def psql_environment(url: str) -> dict[str, str]:
    """Return the variables that name the same database and role as a URL."""
    return {NAMES[key]: str(value) for key, value in conninfo_to_dict(url).items() if key in NAMES}
