"""`scripts/bench compare A B`: the figures of two results side by side."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

MAX_BYTES = 64 * 1024 * 1024
SKIPPED = ("bars", "machine", "samples", "intervals", "started_at", "seed")
"""Keys whose values are no figures of a run."""


def compare(
    a: Annotated[Path, typer.Argument(help="Results of the first commit, as --json printed them.")],
    b: Annotated[Path, typer.Argument(help="Those of the second, from the same machine.")],
) -> None:
    """Compare the figures of two files of results, one JSON object a line; of several, their medians.

    Run the two commits in turn (A B A B), and append each result to its file. Exit code 2: the files are
    from unlike machines, or hold no results.
    """
    first, second = _read(a), _read(b)
    machines = {json.dumps(result["machine"], sort_keys=True) for result in (*first, *second)}
    if len(machines) > 1:
        raise typer.BadParameter(f"unlike machines: {' and '.join(sorted(machines))}")
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("figure", overflow="fold")
    for heading in (f"A ({len(first)})", f"B ({len(second)})", "B ÷ A"):
        table.add_column(heading, justify="right")
    figures = [_figures(first), _figures(second)]
    for name in figures[0]:
        if name in figures[1]:
            table.add_row(name, *_row(figures[0][name], figures[1][name]))
    Console().print(table)
    Console().print("Medians, with the lowest and the highest in brackets.")


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise typer.BadParameter(f"{path} is larger than 64 MiB")
        results = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not one JSON object a line: {error}") from None
    if not results or not all(isinstance(each, dict) and "machine" in each for each in results):
        raise typer.BadParameter(f"{path} holds no results of a benchmark: each states its machine")
    return results


def _figures(results: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the values of each figure, by its path, in the order of the results."""
    figures: dict[str, list[float]] = {}
    for result in results:
        for name, value in _flatten(result):
            figures.setdefault(name, []).append(value)
    return figures


def _flatten(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key not in SKIPPED:
                yield from _flatten(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        for number, part in enumerate(value, 1):
            yield from _flatten(part, f"{path}.{number}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def _row(a: list[float], b: list[float]) -> tuple[str, str, str]:
    ratio = f"{median(b) / median(a):.2f}" if median(a) else "–"
    return _shown(a), _shown(b), ratio


def _shown(values: list[float]) -> str:
    middle = f"{median(values):.4g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.4g} to {max(values):.4g})"
