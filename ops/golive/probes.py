"""The measurements by a program, by the name that `query` of a criterion has."""

from collections.abc import Callable, Mapping
from functools import partial

from leads.domain.errors import HasuraUnavailable
from ops.failures import CommandFailed
from ops.golive.criterion import Criterion
from ops.golive.gates import GATE_PROBES
from ops.golive.judgement import Measurement
from ops.golive.measuring import Probe, SourceDown, Sources, first_line
from ops.golive.precheck import engine_probes, other_probes, role_probes
from ops.golive.precheck.link import Link

OF_ENGINE: Mapping[str, Callable[[Link], Measurement]] = {
    "old_catalog": engine_probes.old_catalog,
    "older_image": engine_probes.older_image,
    "inconsistent_metadata": engine_probes.inconsistent_metadata,
    "missing_triggers": engine_probes.missing_triggers,
    "crons_without_events": engine_probes.crons_without_events,
    "crons_at_two": engine_probes.crons_at_two,
    "stopped_calls": engine_probes.stopped_calls,
    "refused_insert": engine_probes.refused_insert,
    "refused_roles": role_probes.refused_roles,
    "metadata_differences": lambda link: other_probes.metadata_differences(link, "9b"),
    "metadata_9a_differences": lambda link: other_probes.metadata_differences(link, "9a"),
}
"""Those that ask the engine of HASURA_URL."""

OF_LINK: Mapping[str, Callable[[Link], Measurement]] = {
    "waiting_share": engine_probes.waiting_share,
    "stop_factor": engine_probes.stop_factor,
    "leaking_logs": engine_probes.leaking_logs,
    "snapshot_hours": other_probes.snapshot_hours,
    "staging_differences": other_probes.staging_differences,
    "edge_answers": other_probes.edge_answers,
    "certificate_days": other_probes.certificate_days,
    "has_phonenumbers": lambda link: other_probes.package_is_there("phonenumbers"),
    "has_circuitbreaker": lambda link: other_probes.package_is_there("circuitbreaker"),
}
"""Those that ask the edge, staging or a file."""

OF_SOURCES: Mapping[str, Callable[[Sources], Measurement]] = {
    "insert_thousand_events": other_probes.insert_thousand_events,
    "missing_rights": other_probes.missing_rights,
    "retention_days": other_probes.retention_days,
}
"""Those that ask the database or Prometheus."""


def probes_of(link: Link) -> Mapping[str, Probe]:
    """Return every probe, bound to the engines of an evaluation."""
    return {
        **{name: _of_engine(ask, link) for name, ask in OF_ENGINE.items()},
        **{name: _of_link(ask, link) for name, ask in OF_LINK.items()},
        **{name: _of_sources(ask) for name, ask in OF_SOURCES.items()},
        **GATE_PROBES,
        "connection_share": lambda sources, _: other_probes.connection_share(link, sources),
        "wrong_engine": lambda sources, criterion: _of_engine(
            partial(engine_probes.wrong_engine, below=criterion.parameters["below"]), link
        )(sources, criterion),
    }


def _of_engine(ask: Callable[[Link], Measurement], link: Link) -> Probe:
    """An engine that did not answer is not asked again: each question would wait for its time-out."""
    probe = _of_link(ask, link)

    def asked(sources: Sources, criterion: Criterion) -> Measurement:
        if link.engine_problem:
            raise SourceDown(link.engine_problem)
        try:
            return probe(sources, criterion)
        except HasuraUnavailable as error:
            link.engine_problem = first_line(error)
            raise

    return asked


def _of_link(ask: Callable[[Link], Measurement], link: Link) -> Probe:
    def probe(sources: Sources, criterion: Criterion) -> Measurement:
        try:
            return ask(link)
        except CommandFailed as error:
            raise SourceDown(" ".join(str(error).split())) from error

    return probe


def _of_sources(ask: Callable[[Sources], Measurement]) -> Probe:
    return lambda sources, criterion: ask(sources)
