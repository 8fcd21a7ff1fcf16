"""A sandbox in which time passes faster for Pancake and the handlers; for engine and database it does not."""

from collections.abc import Mapping
from datetime import datetime

from proofs.chaos.accelerated_handlers import CLOCK_FILE
from sandbox.accelerated_clock import AcceleratedClock
from sandbox.stack.stack import Sandbox


class AcceleratedSandbox(Sandbox):
    """`speed`: seconds that pass in each real second, from `start` on. `seed` is that of Pancake's leads."""

    application = "proofs.chaos.accelerated_handlers:create_app"

    def __init__(self, start: datetime, speed: float, seed: int, processes: int = 1) -> None:
        super().__init__(processes=processes)
        self._clock_file = self.home / "clock.json"
        self.clock = AcceleratedClock.begin(self._clock_file, start, speed)
        self._seed = seed

    def _pancake_arguments(self) -> list[str]:
        return [*super()._pancake_arguments(), f"--seed={self._seed}", f"--clock={self._clock_file}"]

    def _service_environment(self) -> Mapping[str, str]:
        return {**super()._service_environment(), CLOCK_FILE: str(self._clock_file)}
