"""What counts as a private network."""

import pytest

from leads.domain.private_hosts import is_clear_text, is_private


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.1.1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1", "localhost", "hasura", "db.internal",
        "Hasura.Diva.SVC", "hasura.diva.svc.cluster.local", "printer.local.", "box.home.arpa",
    ],
)  # fmt: skip
def test_these_are_private(host: str) -> None:
    assert is_private(host)
    address = f"[{host.partition('%')[0]}]" if ":" in host else host
    assert not is_clear_text(f"http://{address}:8080/v1/graphql")


@pytest.mark.parametrize(
    "host",
    [
        "", "8.8.8.8", "172.32.0.1", "100.64.0.1", "192.169.0.1", "2001:db8::1", "::ffff:8.8.8.8", "diva.vn",
        "10.example.com", "internal.example.com", "127.0.0.1.example.com", "0x7f.1", "a:b",
    ],
)  # fmt: skip
def test_these_are_not(host: str) -> None:
    assert not is_private(host)


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("https://diva.vn", False),
        ("http://diva.vn", True),
        ("HTTP://diva.vn", True),
        ("http://10.0.0.1@diva.vn/", True),
        ("ftp://diva.vn", True),
        ("http://[broken", True),
        ("//", True),
    ],
)
def test_clear_text_is_http_to_a_public_host(url: str, clear: bool) -> None:
    assert is_clear_text(url) is clear
