"""Parse the `path` argument of json columns: `$.a.b[0]`, `a["odd key"]`.

Facts: the engine's `Data.Parser.JSONPath`.
"""

import re

from graphql_engine.graphql.document.operation import failed

# One step: .key, [0], ["key"] or ['key']; the dot before a bracket is optional.
STEP = re.compile(
    r"""\.?([^\W\d][\w-]*)|\.?\[(\d+)\]|\.?\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]"""
)
ACCEPTED = (
    "Accept letters, digits, underscore (_) or hyphen (-) only."
    ' Use quotes enclosed in bracket (["..."]) if there is any special character'
)


def json_steps(text: str) -> list[str]:
    """Return the keys and indexes of a path. Raises QErr."""
    if not text:
        raise failed(f"parse json path error: . {ACCEPTED}")
    rest = text.removeprefix("$")
    steps: list[str] = []
    position = 0
    while position < len(rest):
        match = STEP.match(rest, position)
        if match is None:
            raise failed(f"parse json path error: {text}. {ACCEPTED}")
        steps.append(next(group for group in match.groups() if group is not None))
        position = match.end()
    return steps
