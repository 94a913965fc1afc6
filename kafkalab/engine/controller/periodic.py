"""What the active controller does of its own accord now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.controller.elections import ELECTIONS_PER_PASS_MAX, Elections
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol.metadata_records import NoOpRecord, PartitionChangeRecord

if TYPE_CHECKING:
    from kafkalab.engine.controller.queue import OperationQueue

Submit = Callable[[str, Callable[[], Plan]], None]


class PeriodicWork:
    """Preferred leaders, unclean leaders, and idle records, each with a timer of its own."""

    def __init__(
        self, *, config: BrokerConfig, clock: Clock, image: MetadataImage, elections: Elections, queue: OperationQueue, submit: Submit
    ) -> None:
        """``submit`` puts an operation of the controller's own into its queue."""
        self._config = config
        self._clock = clock
        self._image = image
        self._elections = elections
        self._queue = queue
        self._submit = submit
        self._timers: dict[str, Timer] = {}

    def start(self) -> None:
        """The controller is active."""
        self._arm_preferred()
        self._arm_unclean()
        self._arm_idle()

    def stop(self) -> None:
        """It is not any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _arm_preferred(self, delay_ms: float | None = None) -> None:
        if self._config.get_boolean("auto.leader.rebalance.enable"):
            interval_ms = 1000.0 * self._config.get_int("leader.imbalance.check.interval.seconds")
            self._timers["preferred"] = self._clock.call_later(interval_ms if delay_ms is None else delay_ms, self._elect_preferred)

    def _elect_preferred(self) -> None:
        self._submit(
            "preferred leaders",
            lambda: self._pass(self._elections.toward_preferred(), "leadership went back to the preferred replica", self._arm_preferred),
        )

    def _arm_unclean(self, delay_ms: float | None = None) -> None:
        interval_ms = float(self._config.get_int("unclean.leader.election.interval.ms"))
        self._timers["unclean"] = self._clock.call_later(interval_ms if delay_ms is None else delay_ms, self._elect_unclean)

    def _elect_unclean(self) -> None:
        self._submit(
            "unclean leaders",
            lambda: self._pass(self._elections.of_leaderless(), "the topic allows leaders that may lack records", self._arm_unclean),
        )

    def _pass(self, records: list[PartitionChangeRecord], cause: str, arm: Callable[[float | None], None]) -> Plan:
        # A full pass goes on at once: there may be more.
        arm(0.0 if len(records) == ELECTIONS_PER_PASS_MAX else None)
        return Plan(records=records, cause=cause)

    def _arm_idle(self) -> None:
        interval_ms = self._config.get_int("metadata.max.idle.interval.ms")
        if interval_ms > 0:
            offset = self._image.offset
            self._timers["idle"] = self._clock.call_later(interval_ms, lambda: self._write_idle(offset))

    def _write_idle(self, offset_before: int) -> None:
        self._arm_idle()
        if not self._queue and self._image.offset == offset_before:
            self._submit("idle record", lambda: Plan(records=[NoOpRecord()]))
