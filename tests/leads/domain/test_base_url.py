"""The form of a base URL, and its host. tests/hasura/test_constraints.py has the same of the database."""

import pytest

from leads.domain.base_url import DEFAULT_HOSTS, EXAMPLE, host_of, read_hosts
from tests.support.base_urls import BASE_URLS, NOT_BASE_URLS


@pytest.mark.parametrize(("url", "host"), BASE_URLS.items())
def test_the_host_of_a_base_url_has_scheme_and_port(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize("url", NOT_BASE_URLS)
def test_what_is_no_base_url_has_no_host(url: str) -> None:
    assert host_of(url) is None


def test_the_vendors_host_is_allowed_by_default() -> None:
    assert host_of(EXAMPLE) in DEFAULT_HOSTS


@pytest.mark.parametrize(
    "entry", ["a/b", "https://a/", "a:b", "ftp://a", "*", "*.pancake.vn", "A", "a b", "a@b"]
)
def test_what_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        read_hosts(["crm.pancake.vn", entry])
