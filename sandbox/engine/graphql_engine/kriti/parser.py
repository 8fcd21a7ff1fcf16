"""Parse templates into functions of their variables, by recursive descent."""

import json
import re
from typing import Any

from graphql_engine.kriti.expressions import parse_expression
from graphql_engine.kriti.scanner import CONSTANTS, KritiError, Scanner, Template, Variables

# A JSON number.
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def parse_json_template(text: str) -> Template:
    """Parse a template whose value is JSON. Raises KritiError."""
    parser = _Parser(text)
    template = parser.value()
    parser.skip()
    if parser.at < len(text):
        raise parser.error("end of the template")
    return _guarded(template)


def parse_text_template(text: str) -> Template:
    """Parse a template whose value is text, as in URLs and headers. Raises KritiError."""
    return _guarded(_Parser(text).text(None))


def _guarded(template: Template) -> Template:
    def evaluate(variables: Variables) -> Any:
        try:
            return template(variables)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ZeroDivisionError) as error:
            raise KritiError(f"the template cannot be evaluated: {error!r}") from error

    return evaluate


class _Parser(Scanner):
    def value(self) -> Template:
        """Parse a JSON value or braces."""
        if self.take("{{"):
            return self.braces()
        if self.take("{"):
            return self.object()
        if self.take("["):
            return self.array()
        return self.scalar()

    def scalar(self) -> Template:
        if self.take('"'):
            return self.text('"')
        word = self.word(*CONSTANTS)
        if word is not None:
            constant = CONSTANTS[word]
            return lambda _: constant
        if self.peek("$"):
            return self.expression()
        match = NUMBER.match(self.source, self.at)
        if match is None:
            raise self.error("a value")
        self.at = match.end()
        number = json.loads(match.group())
        return lambda _: number

    def object(self) -> Template:
        fields: list[tuple[Template, Template]] = []
        while not self.take("}"):
            if fields:
                self.expect(",")
            self.expect('"')
            key = self.text('"')
            self.expect(":")
            fields.append((key, self.value()))
        return lambda variables: {key(variables): field(variables) for key, field in fields}

    def array(self) -> Template:
        items: list[Template] = []
        while not self.take("]"):
            if items:
                self.expect(",")
            items.append(self.value())
        return lambda variables: [item(variables) for item in items]

    def text(self, end: str | None) -> Template:
        """Parse text with braces, up to the quote `end` or the end of the template."""
        parts: list[str | Template] = []
        start = self.at
        while self.at < len(self.source) and self.source[self.at] != end:
            if self.source.startswith("{{", self.at):
                parts.append(self._plain(start, end))
                self.at += 2
                parts.append(self.expression())
                self.expect("}}")
                start = self.at
            else:
                self.at += 2 if end and self.source[self.at] == "\\" else 1
        parts.append(self._plain(start, end))
        if end:
            self.expect(end)
        return lambda variables: "".join(
            part if isinstance(part, str) else _as_text(part(variables)) for part in parts
        )

    def _plain(self, start: int, end: str | None) -> str:
        raw = self.source[start : self.at]
        return str(json.loads(f'"{raw}"')) if end == '"' else raw

    def braces(self) -> Template:
        """Parse what follows `{{`: a range, an if, or an expression."""
        if self.word("range"):
            return self.range()
        if self.word("if"):
            return self.condition()
        expression = self.expression()
        self.expect("}}")
        return expression

    def range(self) -> Template:
        index = self.name()
        self.expect(",")
        item = self.name()
        self.expect(":=")
        items = self.expression()
        self.expect("}}")
        body = self.value()
        self.expect("{{")
        if not self.word("end"):
            raise self.error("end")
        self.expect("}}")
        return lambda variables: [
            body({**variables, index: number, item: each}) for number, each in enumerate(items(variables))
        ]

    def condition(self) -> Template:
        test = self.expression()
        self.expect("}}")
        then = self.value()
        self.expect("{{")
        if self.word("elif"):
            otherwise = self.condition()
        elif self.word("else"):
            self.expect("}}")
            otherwise = self.value()
            self.expect("{{")
            if not self.word("end"):
                raise self.error("end")
            self.expect("}}")
        else:
            raise self.error("elif or else")
        return lambda variables: then(variables) if test(variables) else otherwise(variables)

    def expression(self) -> Template:
        return parse_expression(self)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list) or value is None:
        raise KritiError(f"cannot put {json.dumps(value)} into text")
    return json.dumps(value)
