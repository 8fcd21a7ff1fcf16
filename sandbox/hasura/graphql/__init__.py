"""GraphQL over the tracked tables and actions, as Hasura v2 does it.

`execute` answers requests of /v1/graphql, `run_operation` those of RESTified endpoints; what they return may
hold `Raw` (JSON text from PostgreSQL), so it is written with `dumps`. `rebuild` is called after a change
inside the metadata; a replaced metadata or catalogue object is noticed without it.
"""

from sandbox.hasura.catalog import Catalog, load_catalog
from sandbox.hasura.graphql.execute import execute, rebuild, run_operation, schemas_of
from sandbox.hasura.graphql.rawjson import Raw, dumps, loads

__all__ = [
    "Catalog",
    "Raw",
    "dumps",
    "execute",
    "load_catalog",
    "loads",
    "rebuild",
    "run_operation",
    "schemas_of",
]
