"""Read environment variables whose value is a URL."""

import re

from leads.adapters.variables import VARIABLES


def is_http(url: str) -> bool:
    """Whether it is an http or https URL with a host."""
    return re.match(r"https?://[^/]", url) is not None


def read_base_url(name: str, url: str, problems: list[str]) -> str:
    """Return a URL without a slash at its end, and add to `problems` if it is not one. It may be empty."""
    if url and not is_http(url):
        problems.append(f"{name} is not an http or https URL: give it {VARIABLES[name]}")
    return url.rstrip("/")
