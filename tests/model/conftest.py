"""The product on one database for all histories of the session."""

from collections.abc import Iterator

import pytest

from sandbox.postgres.server import RUN_ID, Cluster
from tests.support.histories.history import History
from tests.support.histories.product import Product
from tests.support.histories.random_history import STEPS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many steps the random histories had, over all pieces."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    sections = [section for report in reports for section in report.sections]
    if steps := [int(text) for name, text in sections if name == f"Captured {STEPS} call"]:
        terminalreporter.write_line(f"{sum(steps):,} {STEPS}")


@pytest.fixture(scope="session")
def product(cluster: Cluster, template: str) -> Iterator[Product]:
    name = f"pancake_histories_{RUN_ID}"
    with Product(cluster.create_database(name, template)) as started:
        yield started
    cluster.drop_database(name)


@pytest.fixture
def history(product: Product) -> History:
    return History(product)
