"""The result of a gate for other programs: JUnit and Prometheus text."""

from collections.abc import Sequence
from xml.etree import ElementTree

from ops.golive.gates import Evaluation
from ops.golive.judgement import Judgement, Outcome
from ops.golive.text import finding
from ops.output import escape_unseen

Sample = tuple[str, float]
"""The labels of a sample, and its value."""


def junit_text(evaluation: Evaluation) -> str:
    """Return the gate as a JUnit file; what is inconclusive is an error, waivers and the rest are skipped."""
    suite = ElementTree.Element(
        "testsuite", name=f"golive {evaluation.subject}", tests=str(len(evaluation.judgements)),
        failures=str(evaluation.count(Outcome.FAIL)), errors=str(evaluation.count(Outcome.INCONCLUSIVE)),
        skipped=str(evaluation.count(Outcome.WAIVED) + evaluation.count(Outcome.NOT_APPLICABLE)),
        timestamp=evaluation.at.isoformat(),
    )  # fmt: skip
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="commit", value=evaluation.commit)
    for judgement in evaluation.judgements:
        _add_case(suite, evaluation.subject, judgement)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ElementTree.Element, subject: str, judgement: Judgement) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"golive.{subject}", name=judgement.criterion.id
    )
    message = escape_unseen(finding(judgement))
    match judgement.outcome:
        case Outcome.FAIL:
            ElementTree.SubElement(case, "failure", message=message)
        case Outcome.INCONCLUSIVE:
            ElementTree.SubElement(case, "error", message=message)
        case Outcome.WAIVED | Outcome.NOT_APPLICABLE:
            reason = judgement.exemption.reason if judgement.exemption else ""
            ElementTree.SubElement(case, "skipped", message=escape_unseen(f"{judgement.outcome}: {reason}"))


def prometheus_text(evaluation: Evaluation) -> str:
    """Return the gate in Prometheus' text format, for the textfile collector of node_exporter."""
    gate = f'gate="{evaluation.subject}"'
    counts = [(f'{gate},outcome="{outcome}"', evaluation.count(outcome)) for outcome in Outcome]
    outcomes = [
        (f'{gate},id="{each.criterion.id}",outcome="{each.outcome}"', 1) for each in evaluation.judgements
    ]
    return "".join((
        _family("gate_open", "Whether the gate is open", [(gate, int(evaluation.is_open))]),
        _family("criteria", "Criteria of the gate by outcome", counts),
        _family("criterion_outcome", "1 for the outcome of a criterion", outcomes),
        _family(
            "evaluated_timestamp_seconds", "When the gate was evaluated",
            [(gate, round(evaluation.at.timestamp()))],
        ),
    ))  # fmt: skip


def _family(name: str, words: str, samples: Sequence[Sample]) -> str:
    name = f"pancake_golive_{name}"
    lines = [f"# HELP {name} {words}", f"# TYPE {name} gauge"]
    lines += [f"{name}{{{labels}}} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"
