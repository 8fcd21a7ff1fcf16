"""Compare an answer with a recorded one, whose ids, times and addresses are placeholders."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
PLACEHOLDER = re.compile(r"<(?:any|time|uuid(?::\d+)?)>")
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PATTERNS = {"<any>": r"(?s:.*)", "<time>": r"[0-9TZ:.+ -]+", "<uuid>": UUID}
# Where an answer holds a sentence for people.
WORDING = re.compile(
    r"\$(\[\d+\])?\.(error|errors\[\d+\]\.message|inconsistent_objects\[\d+\]\.(reason|message))"
)


class Digits(str):
    """A number with a fraction or an exponent, as it was written: `1.0` and `1.00` differ."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digits) and str(self) == str(other)

    __hash__ = str.__hash__


def parse(text: str | bytes) -> Json:
    """Parse JSON and keep the digits of its numbers. Raises ValueError."""
    return json.loads(text, parse_float=Digits)


@dataclass(frozen=True)
class Difference:
    """A place of an answer where the genuine engine said something else."""

    place: str
    genuine: Json
    here: Json

    @property
    def is_wording(self) -> bool:
        """Whether both sides have a sentence for people at this place."""
        texts = isinstance(self.genuine, str) and isinstance(self.here, str)
        return texts and WORDING.fullmatch(self.place) is not None

    def __str__(self) -> str:
        return f"{self.place}: genuine {_short(self.genuine)}, here {_short(self.here)}"


@dataclass
class Placeholders:
    """What placeholders stand for: `known` from the start (like `<sink>`), `ids` as answers bring them."""

    known: Mapping[str, str]
    ids: dict[str, str] = field(default_factory=dict)

    def fill(self, value: Json) -> Json:
        """Return a request's value with everything known put in. Ids that no answer brought stay."""
        if isinstance(value, dict):
            return {str(self.fill(key)): self.fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        if isinstance(value, str) and not isinstance(value, Digits):
            for name, text in {**self.known, **self.ids}.items():
                value = value.replace(name, text)
            value = re.sub(r"<repeat:(.):(\d+)>", lambda found: found[1] * int(found[2]), value)
        return value

    def compare(self, genuine: Json, here: Json, *, any_order: bool = False) -> list[Difference]:
        """Return the differences of an answer. If there are none, keep the ids that it brought."""
        before = dict(self.ids)
        found = self._any_order(genuine, here, "$") if any_order else self._compare(genuine, here, "$")
        if found and not all(each.is_wording for each in found):
            self.ids = before
        return found

    def _compare(self, genuine: Json, here: Json, place: str) -> list[Difference]:
        if isinstance(genuine, str) and not isinstance(genuine, Digits):
            return [] if self._fits(genuine, here) else [Difference(place, genuine, here)]
        if type(genuine) is not type(here):
            return [Difference(place, genuine, here)]
        if isinstance(genuine, dict):
            return self._objects(genuine, here, place)
        if isinstance(genuine, list):
            if len(genuine) != len(here):
                return [Difference(place, genuine, here)]
            pairs = enumerate(zip(genuine, here, strict=True))
            return [
                found for i, (left, right) in pairs for found in self._compare(left, right, f"{place}[{i}]")
            ]
        return [] if genuine == here else [Difference(place, genuine, here)]

    def _objects(self, genuine: dict[str, Json], here: dict[str, Json], place: str) -> list[Difference]:
        found = []
        for key in {**genuine, **here}:
            inner = f"{place}.{key}"
            if key not in here:
                found.append(Difference(inner, genuine[key], "(no such key)"))
            elif key not in genuine:
                found.append(Difference(inner, "(no such key)", here[key]))
            else:
                found += self._compare(genuine[key], here[key], inner)
        return found

    def _any_order(self, genuine: Json, here: Json, place: str) -> list[Difference]:
        if isinstance(genuine, dict) and isinstance(here, dict) and genuine.keys() == here.keys():
            return [
                each for key in genuine for each in self._any_order(genuine[key], here[key], f"{place}.{key}")
            ]
        if not isinstance(genuine, list) or not isinstance(here, list) or len(genuine) != len(here):
            return self._compare(genuine, here, place)
        left = list(here)
        for item in genuine:
            fitting = (i for i, other in enumerate(left) if not self._tried(item, other))
            index = next(fitting, None)
            if index is None:
                return [Difference(f"{place}[?]", item, left)]
            del left[index]
        return []

    def _tried(self, genuine: Json, here: Json) -> list[Difference]:
        before = dict(self.ids)
        found = self._compare(genuine, here, "$")
        if found:
            self.ids = before
        return found

    def _fits(self, genuine: str, here: Json) -> bool:
        if genuine == "<any>":
            return True
        if not isinstance(here, str) or isinstance(here, Digits):
            return False
        text = self.fill(genuine)
        if not PLACEHOLDER.search(text):
            return bool(text == here)
        match = re.fullmatch(self._pattern(text), here)
        if match is None:
            return False
        for group, value in match.groupdict().items():
            self.ids[f"<uuid:{group.removeprefix('id')}>"] = value
        return True

    def _pattern(self, text: str) -> str:
        pattern, end = "", 0
        for found in PLACEHOLDER.finditer(text):
            pattern += re.escape(text[end : found.start()])
            end = found.end()
            number = found[0].removeprefix("<uuid:").removesuffix(">")
            if not number.isdigit():
                pattern += PATTERNS[found[0]]
            elif f"(?P<id{number}>" in pattern:
                pattern += f"(?P=id{number})"
            else:
                pattern += f"(?P<id{number}>{UUID})"
        return pattern + re.escape(text[end:])


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]} …"
