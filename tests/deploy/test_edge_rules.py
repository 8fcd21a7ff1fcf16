"""The edge exposes every metric that its alerts use."""

import re

import httpx
import pytest

from sandbox.edge.nginx import EdgeSettings, NginxEdge
from sandbox.edge.packages import missing_packages
from sandbox.processes import Processes
from tests.support.alerts import alerts
from tests.support.edge.fakes import EDGE_SECRET
from tests.support.promql import selectors


@pytest.mark.skipif(bool(missing_packages()), reason=f"needs Debian's {', '.join(missing_packages())}")
def test_the_edge_exposes_every_metric_of_the_rules() -> None:
    """An alert with a misspelt metric would never fire."""
    nowhere = "http://127.0.0.1:9"
    with Processes() as processes:
        edge = NginxEdge(processes, EdgeSettings(nowhere, nowhere, "jwt", EDGE_SECRET))
        edge.start()
        edge.wait_ready()
        text = httpx.get(f"{edge.ops_url}/metrics").text
    exposed = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    # increase() does not see the first event of a series that appears with it.
    for path in ("hasura", "handlers"):
        for result in ("ok", "refused", "down"):
            assert f'pancake_edge_upstream_seconds_count{{upstream="{path}",result="{result}"}} 0\n' in text
    # One per connection; there is none here.
    exposed |= {"pancake_edge_budget_used", "pancake_edge_unproved_failures"}
    for rule in alerts("edge"):
        read = {selector.name for selector in selectors(rule["expr"])} - {"up"}
        assert read <= exposed, rule["alert"]
