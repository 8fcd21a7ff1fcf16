"""The watch of `leads backfill-phones` over those that wait for its locks."""

import re

from leads.adapters.db_session import open_session
from leads.cli.backfill_phones.limits import Stopped
from leads.cli.backfill_phones.watching import LockWatch
from tests.support.waiting import eventually


def test_a_watch_that_cannot_connect_says_why_in_words(database: str) -> None:
    with (
        open_session(database, "test") as session,
        LockWatch("postgresql://operator@127.0.0.1:1/diva", session, 1.0) as watch,
    ):

        def failure() -> str:
            try:
                watch.check()
            except Stopped as stopped:
                return str(stopped)
            return ""

        eventually(failure)
    assert re.fullmatch(r"Lock waits can no longer be watched: [^()]*Connection refused", failure())
