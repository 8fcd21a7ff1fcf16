"""The plans of four_layers and day: when leads, edits and faults come."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from leads.domain.window import ICT
from sandbox.chaos.layers_plan import AFTERNOON, DAY, PHASES, plan_afternoon, plan_day

MIDNIGHT = datetime(2026, 11, 19, 17, tzinfo=UTC)
"""In Vietnam."""


def test_the_leads_of_a_day_follow_its_hours() -> None:
    steps = plan_day(MIDNIGHT, 1000, seed=1)
    hours = Counter(step.at.astimezone(ICT).hour for step in steps if step.kind == "lead")
    assert sum(hours.values()) == 1000
    assert hours.most_common(1)[0][0] == 20
    assert 10 * hours[3] < hours[10] < hours[20]


def test_steps_are_in_order_within_their_time_and_edits_follow_their_lead() -> None:
    for plan, length in ((plan_day, DAY), (plan_afternoon, AFTERNOON)):
        steps = plan(MIDNIGHT, 100, 1)
        assert [step.at for step in steps] == sorted(step.at for step in steps)
        assert steps[0].at >= MIDNIGHT
        assert steps[-1].at <= MIDNIGHT + length + timedelta(seconds=1)
        created = {step.number: step.at for step in steps if step.kind == "lead"}
        edits = [step for step in steps if step.kind == "edit"]
        assert len(edits) == 20
        assert all(created[step.number] < step.at for step in edits)
        assert {step.name for step in steps if step.kind == "begin"} == {phase.name for phase in PHASES}
