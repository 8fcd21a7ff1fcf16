"""`leads golive deploy` ended by SIGKILL at every place of every step, forward and back."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.stack.services import ROOT
from tests.support.golive_site import GoLiveSite

MAX_RUNS = 400
LOCK_POLL_SECONDS = 0.2
STEPS = {"snapshot", "1", "2", "3", "4", "5", "6", "7", "8", "8a", "8b", "9a", "10", "11", "9b", "13", "14"}
"""Those with an action; a person confirms step 12."""


class Killed:
    """Runs of the command, each of which ends at a new place."""

    def __init__(self, site: GoLiveSite) -> None:
        self.places = site.folder / "places"
        self.environment = os.environ | {"KILL_PLACES": str(self.places), "PYTHONPATH": str(ROOT)}
        self.kills = 0

    def until_it_ends(self, *words: str) -> dict[str, str]:
        """Run it until it ends by itself; return the result of each step by its number."""
        command = [
            sys.executable,
            "-m",
            "tests.support.killed_deploy",
            "golive",
            "deploy",
            "--anytime",
            "--json",
        ]
        for _ in range(MAX_RUNS):
            run = subprocess.run(
                [*command, *words],
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if run.returncode == -9:
                self.kills += 1
            elif "Another deployment" in run.stderr:
                time.sleep(LOCK_POLL_SECONDS)  # the program of a step goes on, and holds the lock
            else:
                assert run.stdout, run.stderr
                return {each["step"]: each["result"] for each in json.loads(run.stdout)["steps"]}
        raise AssertionError(f"it does not end; the last places: {self.places.read_text()[-500:]}")


@pytest.mark.full("it is killed more than 100 times")
def test_killed_at_every_place_it_goes_on_and_back(site: GoLiveSite, tmp_path: Path) -> None:
    """The end is that of a run without a stop: one ticket, and after the way back Diva's dump as before."""
    before, killed = site.dump(), Killed(site)
    killed.places.write_text("")
    assert killed.until_it_ends("--confirm", "12")["13"] == "waiting"
    assert site.deliver(1) == "skipped_kill_switch"
    assert set(killed.until_it_ends().values()) <= {"done", "was done"}
    assert site.query("SELECT count(*), count(DISTINCT ticket_id) FROM pancake_webhook_event") == [(1, 1)]
    forward = {line.split()[1] for line in killed.places.read_text().splitlines()}
    assert forward >= STEPS

    killed.places.write_text("")
    back = killed.until_it_ends("--rollback", "1", "--confirm", "12", "--move-tickets")
    assert set(back.values()) <= {"undone", "was absent", "was undone"}
    assert site.dump() == before
    backward = {line.split()[1] for line in killed.places.read_text().splitlines()}
    assert backward >= STEPS - {"snapshot"}
    assert killed.kills > 100
