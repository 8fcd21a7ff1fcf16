"""The gates of the four waves, opened one after the other as people do, and their reports."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from leads.cli.golive.criterion import Source
from leads.cli.golive.load import load_criteria
from tests.support.golive_breaks import OLDER, dead
from tests.support.golive_evidence import attest_all
from tests.support.golive_keys import write_keys
from tests.support.golive_pilot import Pilot


def manual(wave: str) -> set[str]:
    """What a gate asks of people."""
    sources = (Source.PERSON, Source.FILE)
    return {each.id for each in load_criteria() if wave in each.waves and each.source in sources}


def open_waves(pilot: Pilot, folder: Path, sources_of: Mapping[str, int]) -> None:
    """People alone keep each gate closed; they attest, then it is open, and its report verifies.

    `sources_of` has the number of sources that each wave activates.
    """
    attested: set[str] = set()
    for number, (wave, sources) in enumerate(sources_of.items()):
        begun = pilot.begin(wave, pilot.since + timedelta(hours=number, minutes=5))
        assert begun.exit_code == 0, begun.output
        pilot.activate_sources(sources)

        closed = pilot.gate(wave)
        keeps_closed = {each["id"] for each in closed["criteria"] if each["outcome"] != "pass"}
        assert keeps_closed == manual(wave) - attested, wave
        assert {each["outcome"] for each in closed["criteria"]} == {"pass", "inconclusive"}
        assert not closed["is_open"]

        attested |= set(attest_all(pilot, wave, folder))
        is_open = pilot.gate(wave)
        assert {each["outcome"] for each in is_open["criteria"]} == {"pass"}, wave
        assert is_open["is_open"]
        check_report(pilot, wave, folder)
    check_sign_off(pilot, folder)


def check_later_changes(pilot: Pilot, folder: Path) -> None:
    """What changes in the data after a report is named when the sources are asked again."""
    pilot.sql(dead(10, OLDER))
    (made,) = (folder / "W1").iterdir()
    words = ["verify", str(made / "report.dsse.json"), "--public-key", str(folder / "W1-keys/golive.pub")]
    result = pilot.golive(*words, "--reevaluate", "--json")
    assert result.exit_code == 1
    differing = {each["name"] for each in json.loads(result.stdout)["checks"] if each["problem"]}
    assert differing == {"again: success-rate"}


def check_sign_off(pilot: Pilot, folder: Path) -> None:
    """After W4 only the signatures, and what only a longer pilot shows, are missing."""
    closed = pilot.gate("sign-off")
    assert closed["before"] == {"gate": "W4", "outcome": "pass", "reason": "It is open."}
    too_few = {each["id"] for each in closed["criteria"] if each["why"] == "too_few"}
    assert too_few == {"E6-zero-miss", "E6-missing"}, "seven days of reconciliations; twenty are needed"
    for name in too_few:
        reason = [
            "--reason",
            "nén thời gian",
            "--until",
            f"{pilot.now + timedelta(days=2):%Y-%m-%d}",
            "--by",
            "Sếp",
        ]
        assert pilot.golive("waive", name, *reason).exit_code == 0
    attest_all(pilot, "sign-off", folder)
    signed = pilot.gate("sign-off")
    assert signed["is_open"]
    assert signed["counts"]["waived"] == 2
    check_report(pilot, "sign-off", folder)


def check_report(pilot: Pilot, wave: str, folder: Path) -> None:
    """Write the report of an open gate, and verify it, also by the sources."""
    keys = folder / f"{wave}-keys"
    keys.mkdir()
    private, public = write_keys(keys)
    result = pilot.golive("report", wave, "--key", str(private), "--to", str(folder / wave))
    assert result.exit_code == 0, result.output
    (made,) = (folder / wave).iterdir()
    words = ["verify", str(made / "report.dsse.json"), "--public-key", str(public), "--reevaluate"]
    verified = pilot.golive(*words)
    assert verified.exit_code == 0, verified.output
    assert f"The report is what was signed: gate {wave} was open at" in verified.stdout
