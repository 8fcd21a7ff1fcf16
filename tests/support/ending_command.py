"""Whether a piece of advice ends with a command that a person can copy."""

import re

_ENDS = re.compile(
    r"(?:^|[:;]\s(?:then )?)"
    r"(?:(?:leads|hasura|systemctl|docker compose|tail|df|psql) [^;:]*|psql: [^;]*|printf '[\s\S]*)$"
)


def ends_with_command(helps: str) -> bool:
    return _ENDS.search(helps) is not None
