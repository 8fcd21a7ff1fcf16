"""The product on one database for all histories of the session."""

from collections.abc import Iterator

import pytest

from sandbox.postgres.server import RUN_ID, Cluster
from tests.support.histories.history import History
from tests.support.histories.product import Product


@pytest.fixture(scope="session")
def product(cluster: Cluster, template: str) -> Iterator[Product]:
    name = f"pancake_histories_{RUN_ID}"
    with Product(cluster.create_database(name, template)) as started:
        yield started
    cluster.drop_database(name)


@pytest.fixture
def history(product: Product) -> History:
    return History(product)
