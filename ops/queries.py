"""The statements that the operators' command sends: its own, and those of the server."""

from leads.adapters import database
from leads.adapters.database import SQL_FOLDER, load_queries

QUERIES = {**database.QUERIES, **load_queries(SQL_FOLDER / "ops")}
