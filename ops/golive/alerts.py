"""Whether Prometheus has loaded the alerts that the checklist names, and evaluates them."""

from ops.golive.criterion import Criterion
from ops.golive.judgement import Measurement
from ops.golive.measuring import Sources

MISSING, HEALTHY = "missing", "ok"


def missing_alerts(sources: Sources, criterion: Criterion) -> Measurement:
    """Count the alerts of the criterion that are not loaded or cannot be evaluated; the details name them."""
    loaded = sources.prometheus().alerts()
    states = {name: loaded.get(name, MISSING) for name in criterion.parameters["alerts"].split()}
    faults = [f"{name}: {state}" for name, state in states.items() if state != HEALTHY]
    return Measurement(value=float(len(faults)), details=", ".join(faults))
