"""The statements that the operators' command sends: its own, and those of the server."""

from leads.adapters import queries
from leads.adapters.queries import SQL_FOLDER, load_queries

QUERIES = {**queries.QUERIES, **load_queries(SQL_FOLDER / "ops")}
