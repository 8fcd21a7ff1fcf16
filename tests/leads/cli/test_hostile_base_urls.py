"""Base URLs that would send an API key elsewhere: the command refuses them, the client sends nothing.

The database has the same test in tests/hasura/test_constraints.py, for those with another form.
"""

import httpx
import pytest

from leads.adapters.pancake_api import Access, PancakeApi
from leads.domain.base_url import DEFAULT_HOSTS
from leads.domain.errors import HostNotAllowed, PancakeRefused, PancakeUnavailable
from tests.support.base_urls import NOT_BASE_URLS, OTHER_HOSTS
from tests.support.clock import MovableClock
from tests.support.connection_command import API_KEY, run
from tests.support.settings import UNREACHABLE_URL

UNREACHABLE_DATABASE = UNREACHABLE_URL.replace("http", "postgresql")
HOSTILE = (*NOT_BASE_URLS, *OTHER_HOSTS)


@pytest.mark.parametrize("url", HOSTILE)
def test_the_command_refuses_it_before_it_asks_the_database(url: str) -> None:
    done = run(
        UNREACHABLE_DATABASE, "create", "--name", "x", "--workspace", "1", "--no-key", "--api-url", url
    )
    assert done.returncode == 2, done
    assert API_KEY not in done.stderr


@pytest.mark.parametrize("url", HOSTILE)
async def test_the_client_sends_nothing_there(url: str) -> None:
    """As if it had come into the database by another way."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url.host)

    api = PancakeApi(MovableClock(), DEFAULT_HOSTS, transport=httpx.MockTransport(answer))
    access = Access("c1", url, 123, API_KEY)
    with pytest.raises(HostNotAllowed) as refused:
        await api.sources(access)
    assert API_KEY not in str(refused.value)
    with pytest.raises(HostNotAllowed):
        await api.record(access, "lead", "../../x?a=#")
    with pytest.raises(HostNotAllowed):
        _ = [page async for page in api.pages(access, "lead")]


@pytest.mark.parametrize("location", OTHER_HOSTS)
async def test_the_client_follows_no_redirect(location: str) -> None:
    """Nor does it name the place in its error."""
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response([301, 302, 303, 307, 308][len(hosts) - 1], headers={"Location": location})

    api = PancakeApi(MovableClock(), DEFAULT_HOSTS, transport=httpx.MockTransport(answer))
    for _ in range(5):
        with pytest.raises((PancakeRefused, PancakeUnavailable)) as refused:
            await api.sources(Access("c1", "https://crm.pancake.vn/api", 123, API_KEY))
        assert location not in str(refused.value)
    assert hosts == ["crm.pancake.vn"] * 5
