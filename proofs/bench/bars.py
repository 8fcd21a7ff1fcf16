"""Print the result of a benchmark, and end with 1 if a figure is above its bar."""

import json
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console


def print_result(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result, as one JSON object on request.

    `result["bars"]` has the largest accepted figure by the name of the figure. Raises typer.Exit (code 1) if
    a figure is above it, after naming each such figure on standard error.
    """
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)
    exceeded = {name: bar for name, bar in result["bars"].items() if result[name] > bar}
    for name, bar in exceeded.items():
        typer.echo(f"{name} is {result[name]}, above its bar of {bar}.", err=True)
    if exceeded:
        raise typer.Exit(1)
