"""Rows as psql prints them, with values that are the same at every run."""

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

TIME, DAY, DURATION = "2026-05-14 09:12:03+07", "2026-05-14", "00:00:41"
OF_THE_SERVER = {"n_live_tup": "8120", "n_dead_tup": "1344", "sessions": "38", "max_connections": "100"}
"""Columns whose numbers depend on the server and the moment, with what stands for them."""


def output(cursor: psycopg.Cursor[Any]) -> str:
    """Return what psql prints of a result: one time, day and duration stand for all."""
    names = [column.name for column in cursor.description or ()]
    rows = [
        [_shown(name, value) for name, value in zip(names, row, strict=True)] for row in cursor.fetchall()
    ]
    if OF_THE_SERVER.keys() & set(names):
        rows.sort()
    widths = [max(len(line[place]) for line in (names, *rows)) for place in range(len(names))]
    rule = "-+-".join("-" * width for width in widths)
    lines = [_line(names, widths), rule, *(_line(row, widths) for row in rows)]
    count = f"({len(rows)} row{'' if len(rows) == 1 else 's'})"
    return "\n".join([*lines, count]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _shown(name: str, value: object) -> str:
    if name in OF_THE_SERVER:
        return OF_THE_SERVER[name]
    match value:
        case None:
            return ""
        case bool():
            return "t" if value else "f"
        case datetime():
            return TIME
        case date():
            return DAY
        case timedelta():
            return DURATION
        case bytes():
            return value.decode()
        case list() | dict():
            return json.dumps(value)
        case _:
            return str(value)
