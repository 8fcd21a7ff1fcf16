"""The six key figures of the integration: one statement each, for acceptance, screens and alerts."""

from datetime import datetime

from leads.adapters.database import Database, Row

KPI_STATEMENTS = {
    "latency": "kpi/load_latency",
    "success": "kpi/load_success",
    "auto_assign": "kpi/load_auto_assign",
    "intervention": "kpi/load_intervention",
    "response": "kpi/load_response",
    "zero_miss": "kpi/load_zero_miss",
}


async def load_kpis(db: Database, since: datetime, until: datetime) -> dict[str, Row]:
    """Return every figure by its name, over what arrived from `since` (included) to `until` (excluded).

    A ratio or percentile over no rows is None. Raises DatabaseUnavailable.
    """
    window = {"from": since, "to": until}
    return {name: (await db.fetch_all(statement, window))[0] for name, statement in KPI_STATEMENTS.items()}
