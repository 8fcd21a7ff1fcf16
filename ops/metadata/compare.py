"""Compare the metadata of two engines, piece by piece."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.metadata.deploy import Deployment
from ops.metadata.engine import Engine
from ops.metadata.normal import same
from ops.metadata.pieces import Key


def compare_engines(deployment: Deployment, other: Engine, *, only_integration: bool) -> list[dict[str, Any]]:
    """List the pieces that differ between the engine of the deployment and another one."""
    wanted = deployment.wanted("9b")
    here, there = deployment.held()[2], replace(deployment, engine=other).held()[2]
    keys = sorted(key for key in {*here, *there} if not only_integration or key in wanted)
    return [_describe(key, here, there, key in wanted) for key in keys if not _is_equal(key, here, there)]


def print_differences(found: list[dict[str, Any]], console: Console) -> None:
    table = Table("kind", "name", "integration", "difference")
    for each in found:
        table.add_row(each["kind"], each["name"], "yes" if each["of_integration"] else "", each["difference"])
    console.print(table)


def _is_equal(key: Key, here: Mapping[Key, Any], there: Mapping[Key, Any]) -> bool:
    return key in here and key in there and same(here[key], there[key])


def _describe(
    key: Key, here: Mapping[Key, Any], there: Mapping[Key, Any], of_integration: bool
) -> dict[str, Any]:
    difference = "differs" if key in here and key in there else "only here" if key in here else "only there"
    return {"kind": key[0], "name": key[1], "of_integration": of_integration, "difference": difference}
