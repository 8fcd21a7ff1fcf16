"""Parse the `path` argument of json columns: `$.a.b[0]`, `a["odd key"]`.

Facts: the engine's `Data.Parser.JSONPath`.
"""

import re

from graphql_engine.graphql.document.operation import failed

# One step: .key, [0], ["key"] or ['key']; the dot before a bracket is optional.
STEP = re.compile(
    r"""\.?([A-Za-z_][\w-]*)|\.?\[(\d+)\]|\.?\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]"""
)


def json_steps(text: str) -> list[str]:
    """Return the keys and indexes of a path. Raises QErr."""
    rest = text.removeprefix("$")
    steps: list[str] = []
    position = 0
    while position < len(rest):
        match = STEP.match(rest, position)
        if match is None:
            raise failed(f"parse json path error: invalid property at {position}: {rest[position:]}")
        steps.append(next(group for group in match.groups() if group is not None))
        position = match.end()
    return steps
