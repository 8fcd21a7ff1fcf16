"""The six figures by which the integration is judged: one statement each, for gates, screens and alerts."""

from datetime import datetime

from leads.adapters.database import Database, Row

KPIS = ("latency", "success", "auto_assign", "intervention", "response", "zero_miss")
"""Each is sql/kpi/load_<name>.sql, over what came in from `from` (included) to `to` (excluded)."""


async def load_kpis(db: Database, since: datetime, until: datetime) -> dict[str, Row]:
    """Every figure by its name. A ratio or percentile of nothing is None. Raises DatabaseUnavailable."""
    window = {"from": since, "to": until}
    return {name: (await db.fetch_all(f"kpi/load_{name}", window))[0] for name in KPIS}
