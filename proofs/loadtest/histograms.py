"""The latencies of a load test as an HdrHistogram log, which HdrHistogram's own tools read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

from proofs.loadtest.sender import Leg

MICROSECONDS_PER_MILLISECOND = 1000.0


def milliseconds(histogram: HdrHistogram) -> dict[str, Any]:
    """Return percentiles in milliseconds; None without a value. `n` is the number of values."""
    n = int(histogram.get_total_count())
    shares = {"p50": 50, "p95": 95, "p99": 99, "p99_9": 99.9, "max": 100}
    return {"n": n} | {
        name: round(histogram.get_value_at_percentile(share) / MICROSECONDS_PER_MILLISECOND, 2) if n else None
        for name, share in shares.items()
    }


def write_histograms(path: Path, legs: Sequence[tuple[Leg, Mapping[str, HdrHistogram]]]) -> None:
    """Write one line for each leg and histogram, with its name as tag. Values are in microseconds."""
    with path.open("w") as file:
        writer = HistogramLogWriter(file)
        writer.output_log_format_version()
        writer.output_base_time(0)
        writer.output_legend()
        for leg, histograms in legs:
            for name, histogram in histograms.items():
                histogram.set_start_time_stamp(leg.started_at * 1000)
                histogram.set_end_time_stamp(leg.ended_at * 1000)
                file.write(f"Tag={name}-{leg.per_second:g},")  # the writer leaves tags out
                writer.output_interval_histogram(histogram, max_value_unit_ratio=MICROSECONDS_PER_MILLISECOND)
