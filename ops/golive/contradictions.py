"""What stands in red because database or Prometheus contradict the records, or each other."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from leads.domain.errors import IntegrationError
from ops.clients.db_session import DatabaseError
from ops.failures import first_line
from ops.golive.criterion import WAVES, Source
from ops.golive.judgement import Notice
from ops.golive.measuring import (
    HANDLERS_JOB,
    OF_SANDBOX,
    SCHEMA,
    SHOWN,
    SourceDown,
    Sources,
    ask_of_window,
    first_installation,
    read_row,
)
from ops.golive.records import Kind, newest
from ops.metadata.directory import parse
from ops.output import times

FIGURES = Path(__file__).with_name("contradictions.yaml")


class Figure(NamedTuple):
    """A figure of a day that Prometheus keeps, and that can only grow in the database; `title`: of what.

    `spare` is the share by which the stored `column` may be lower: what Prometheus estimates. The window of
    the statement begins so many minutes earlier than that of Prometheus, at which a figure may be that old.
    """

    promql: str
    sql: str
    column: str
    title: Mapping[str, str]
    spare: float = 0
    earlier_minutes: float = 5


@cache
def load_figures() -> tuple[Figure, ...]:
    return tuple(Figure(**each) for each in parse(FIGURES))


def seen_notices(sources: Sources, commit: str, at: datetime) -> Iterator[Notice]:
    """Yield where database and Prometheus contradict the records, and which questions they did not answer."""
    begun = newest(sources.records, Kind.BEGIN, WAVES[0], at)
    since = begun.holds_at if begun else at
    has_database, has_metrics = sources.settings.database_url, sources.settings.prometheus_url
    for source, is_asked, ask, vi, en in (  # What has no address is named as not set.
        (Source.SQL, has_database, partial(_of_installation, sources, at),
         "database có phải là bản ban đầu không", "whether the database is as it was"),
        (Source.SQL, has_database and begun, partial(_of_early_tickets, sources, since),
         "lead đã thành ticket trước khi W1 bắt đầu", "leads that became tickets before W1 began"),
        (Source.PROMQL, has_metrics and commit.isalnum(), partial(_of_handlers, sources, commit, at),
         "handler đang chạy bản nào", "which commit the handlers run"),
        (Source.PROMQL, has_metrics and has_database and begun,
         partial(_of_figures, sources, since, at),
         "số liệu Prometheus đã giữ có khớp database không", "whether the database has what Prometheus knew"),
    ):  # fmt: skip
        if not is_asked:
            continue
        try:
            if source in sources.down:
                raise SourceDown(sources.down[source])
            yield from ask()
        except (SourceDown, DatabaseError, IntegrationError) as error:
            yield Notice(f"không hỏi được: {vi}", f"could not be asked: {en} ({first_line(error)})")


def _of_installation(sources: Sources, at: datetime) -> Iterator[Notice]:
    first, now = first_installation(sources.files, sources.records, at), sources.installation
    if now["database"].startswith(OF_SANDBOX):
        yield Notice("đây là môi trường thử (sandbox): không có giá trị cho production",
                     "this is a sandbox: nothing of it counts for production")  # fmt: skip
    before, schema = first.get(SCHEMA), now[SCHEMA]
    if "" in (before, schema):
        yield Notice("không hỏi được: hàm, view và trigger trong database có đổi từ khi bắt đầu W1 không",
                     "could not be asked: whether functions, views or triggers of the database were changed"
                     " since W1 began")  # fmt: skip
    elif before not in (None, schema):
        yield Notice("hàm, view hoặc trigger trong database đã đổi từ khi bắt đầu W1",
                     "functions, views or triggers of the database were changed since W1 began")  # fmt: skip


def _of_early_tickets(sources: Sources, since: datetime) -> Iterator[Notice]:
    row = read_row(sources.session, "golive/count_early_tickets", {"to": since})
    if row and row["value"]:
        early = times(row["value"], "lead became a ticket", "leads became tickets")
        yield Notice(f"{row['value']} lead đã thành ticket trước khi W1 bắt đầu", f"{early} before W1 began")


def _of_handlers(sources: Sources, commit: str, at: datetime) -> Iterator[Notice]:
    others = f'count(pancake_build_info{{job="{HANDLERS_JOB}",commit!="",commit!="{commit}"}})'
    if any(sources.prometheus.query(others, at)):
        yield Notice(f"handler đang chạy bản khác, không phải {commit[:SHOWN]}",
                     f"handlers run another commit than {commit[:SHOWN]}")  # fmt: skip


def _of_figures(sources: Sources, since: datetime, at: datetime) -> Iterator[Notice]:
    """Name each figure of which Prometheus knew more than is stored, with the day that differs most."""
    days = [at - timedelta(days=number) for number in range((at - since).days + 1)]
    for figure in load_figures():
        found = []
        for day in days:
            since = day - timedelta(days=1)
            known = max(ask_of_window(sources.prometheus, figure.promql, since, day), default=0.0)
            window = {"from": since - timedelta(minutes=figure.earlier_minutes), "to": day}
            stored = (read_row(sources.session, figure.sql, window) or {}).get(figure.column) or 0
            # Prometheus computes with fractions, also where it counts; NaN is no difference.
            if known * (1 - figure.spare) - stored > 0.5:
                found.append((known - stored, known, stored, f"{day:%Y-%m-%d %H:%M} UTC"))
        if found:
            _, known, stored, time = max(found)
            yield Notice(
                f"{figure.title['vi']}: trong 24 giờ đến {time}, Prometheus từng thấy {known:,.0f},"
                f" database nay có {stored:,.0f}",
                f"{figure.title['en']}: of the day to {time} Prometheus knew {known:,.0f},"
                f" the database has {stored:,.0f}",
            )
