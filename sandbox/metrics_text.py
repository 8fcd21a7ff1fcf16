"""The one reader of what a process shows Prometheus: a series and its value on each line of /metrics.

`ops` reads the same text of other programs with the same library, in ops/clients/alertmanager.py.
"""

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

TIMEOUT_SECONDS = 30


def scrape(url: str) -> list[Sample]:
    """Return what `url`/metrics shows. Raises httpx.HTTPError."""
    return read_samples(httpx.get(f"{url}/metrics", timeout=TIMEOUT_SECONDS).raise_for_status().text)


def read_samples(text: str) -> list[Sample]:
    """Return each series of a text with its value, in the order of the text."""
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def find_value(samples: list[Sample], series: str) -> float | None:
    """Return the value of a series, written as in the text: `up{job="x"}`. None if it is not there."""
    (wanted,) = read_samples(f"{series} 0\n")
    values = (each.value for each in samples if (each.name, each.labels) == (wanted.name, wanted.labels))
    return next(values, None)
