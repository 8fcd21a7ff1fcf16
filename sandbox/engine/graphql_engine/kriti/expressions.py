"""Parse the expressions between braces: look-ups, comparisons, logic, defaults, calls."""

from collections.abc import Callable
from typing import Any

from graphql_engine.kriti.functions import FUNCTIONS
from graphql_engine.kriti.scanner import CONSTANTS, NAME, KritiError, Scanner, Template, Variables
from graphql_engine.rawjson import kind_of

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    ">=": lambda a, b: bool(a >= b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    "<": lambda a, b: bool(a < b),
}


def parse_expression(parser: Scanner) -> Template:
    """Parse `a || b`, the operator with the lowest precedence."""
    left = _conjunction(parser)
    while parser.take("||"):
        left = _either(left, _conjunction(parser))
    return left


def _conjunction(parser: Scanner) -> Template:
    left = _comparison(parser)
    while parser.take("&&"):
        left = _both(left, _comparison(parser))
    return left


def _comparison(parser: Scanner) -> Template:
    left = _default(parser)
    for token, compare in COMPARISONS.items():
        if parser.take(token):
            right = _default(parser)
            return lambda variables: compare(left(variables), right(variables))
    if parser.word("in"):
        container = _default(parser)
        return lambda variables: left(variables) in container(variables)
    return left


def _default(parser: Scanner) -> Template:
    left = _application(parser)
    while parser.take("??"):
        left = _otherwise(left, _application(parser))
    return left


def _application(parser: Scanner) -> Template:
    function = parser.word(*FUNCTIONS)
    if function is None:
        return _primary(parser)
    call, argument = FUNCTIONS[function], _application(parser)
    return lambda variables: call(argument(variables))


def _primary(parser: Scanner) -> Template:
    if parser.take("("):
        inner = parse_expression(parser)
        parser.expect(")")
        return inner
    parser.skip()
    match = NAME.match(parser.source, parser.at)
    if match is None or match.group() in CONSTANTS:
        return parser.value()
    return _path(parser, parser.name())


def _path(parser: Scanner, name: str) -> Template:
    start = parser.at - len(name) + 1
    ends: list[int] = []
    steps: list[str | Template] = []
    optional_from: int | None = None
    while True:
        if parser.peek("??"):
            break
        if parser.take("?"):
            optional_from = len(steps) if optional_from is None else optional_from
            if not (parser.peek(".") or parser.peek("[")):
                raise parser.error("a look-up")
        if parser.take("."):
            steps.append(parser.name())
        elif parser.take("["):
            steps.append(_subscript(parser))
            parser.expect("]")
        else:
            break
        ends.append(parser.at + 1)
    places = [(start, end) for end in ends]
    return lambda variables: _look_up(variables, name, steps, optional_from, places)


def _subscript(parser: Scanner) -> str | Template:
    parser.skip()
    quote = parser.source[parser.at : parser.at + 1]
    if quote in ("'", '"'):
        end = parser.source.find(quote, parser.at + 1)
        if end < 0:
            raise parser.error("the end of the key")
        key = parser.source[parser.at + 1 : end]
        parser.at = end + 1
        return key
    return parse_expression(parser)


def _look_up(
    variables: Variables,
    name: str,
    steps: list[str | Template],
    optional_from: int | None,
    places: list[tuple[int, int]],
) -> Any:
    if name not in variables:
        raise KritiError(f"variable {name} is not bound")
    value = variables[name]
    for index, step in enumerate(steps):
        key = step if isinstance(step, str) else step(variables)
        found = (isinstance(value, dict) and key in value) or (
            isinstance(value, list) and isinstance(key, int) and -1 < key < len(value)
        )
        if not found:
            if optional_from is not None and index >= optional_from:
                return None
            message = f"'{kind_of(value)}' has no attritubte '{key}'."  # spelled as the engine does
            raise KritiError(message, "Attribute Error", places[index])
        value = value[key]
    return value


def _either(left: Template, right: Template) -> Template:
    return lambda variables: bool(left(variables)) or bool(right(variables))


def _both(left: Template, right: Template) -> Template:
    return lambda variables: bool(left(variables)) and bool(right(variables))


def _otherwise(left: Template, right: Template) -> Template:
    def choose(variables: Variables) -> Any:
        value = left(variables)
        return right(variables) if value is None else value

    return choose
