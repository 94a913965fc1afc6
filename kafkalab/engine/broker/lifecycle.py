"""A broker's membership of the cluster: registration, heartbeats, controlled shutdown.

The states are Kafka's. A broker registers, replays the metadata log up to its own registration,
is unfenced by the controller, and serves; it leaves by asking to, or is fenced when its heartbeats
fail to come (kafka-facts, registration and fencing; KIP-500, KIP-841).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, Protocol

from kafkalab.engine.broker.controller_channel import ControllerChannel
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.features import METADATA_VERSION_FEATURE, SUPPORTED_FEATURES
from kafkalab.engine.common.ids import uuid_to_text
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol.apis import ApiKey

log = logging.getLogger(__name__)

DIRECTORIES_SINCE: Final = 17
"""The metadata.version from which on registrations name log directories."""
REGISTRATION_RETRY_MS: Final = 100.0
ELECTION_PATIENCE_MS: Final = 10_000.0
"""For so long after its start a broker without an answer says nothing of it: controllers that start with it elect first."""
HEARTBEAT_RETRY_MS: Final = 100.0
SHUTDOWN_HEARTBEAT_MS: Final = 5.0
SHUTDOWN_SILENCE_MS: Final = 1_500.0
"""A broker that leaves and hears of no controller for so long goes without leave: nobody is there to give it."""


class BrokerState(Enum):
    """Kafka's broker states."""

    NOT_RUNNING = 0
    STARTING = 1
    RECOVERY = 2
    RUNNING = 3
    PENDING_CONTROLLED_SHUTDOWN = 6
    SHUTTING_DOWN = 7


class Directories(Protocol):
    """The broker's log directories by their ids."""

    @property
    def live_ids(self) -> list[uuid.UUID]:
        """Those in use."""

    @property
    def offline_ids(self) -> list[uuid.UUID]:
        """Those that failed."""

    def ids_of(self, texts: Iterable[str]) -> list[uuid.UUID]:
        """Those that are named as the settings do."""


class BrokerLifecycle:
    """Registers one broker with the active controller and keeps it registered."""

    def __init__(
        self,
        *,
        node_id: int,
        cluster_id: str,
        incarnation_id: uuid.UUID,
        directories: Directories,
        previous_broker_epoch: int,
        listeners: Mapping[str, tuple[str, int]],
        config: BrokerConfig,
        clock: Clock,
        channel: ControllerChannel,
        image: MetadataImage,
        on_running: Callable[[], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """``on_running`` is called once, when the broker is unfenced; ``on_failed`` with a sentence when it gives up."""
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._incarnation_id = incarnation_id
        self._directories = directories
        self._previous_broker_epoch = previous_broker_epoch
        self._listeners = listeners
        self._config = config
        self._clock = clock
        self._channel = channel
        self._image = image
        self._on_running = on_running
        self._on_failed = on_failed
        self._interval_ms = float(config.get_int("broker.heartbeat.interval.ms"))
        session_ms = config.get_int("broker.session.timeout.ms")
        # A controller that vanished without a word leaves time for another one (KAFKA-14392).
        self._answer_within_ms = session_ms / 2
        self._timer: Timer | None = None
        self._silence_timer: Timer | None = None
        # One for each time that a directory failed, at the end of which the controller must have heard of it.
        self._told_timers: list[Timer] = []
        self._told_offline: set[uuid.UUID] = set()
        self._deadline_ms = 0.0
        self._heartbeat_under_way = False
        self._heartbeat_again = False
        self._caught_up = False
        self._is_telling = False
        self._on_stopped: Callable[[], None] | None = None
        self._last_problem = ""
        self._last_told = ""
        self._started_ms = 0.0
        self.state = BrokerState.NOT_RUNNING
        self.broker_epoch = -1

    # --- registration --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to register; the quorum may not be there yet."""
        self.state = BrokerState.STARTING
        self._started_ms = self._clock.now_ms()
        self._deadline_ms = self._started_ms + self._config.get_int("initial.broker.registration.timeout.ms")
        self._register()

    def _register(self) -> None:
        if self.state is not BrokerState.STARTING:
            return
        left_ms = self._deadline_ms - self._clock.now_ms()
        if left_ms <= 0:
            self._give_up()
            return
        body = self._registration()
        self._channel.send(ApiKey.BROKER_REGISTRATION, body, self._registered, timeout_ms=min(left_ms, self._answer_within_ms))

    def _registration(self) -> Mapping[str, Any]:
        return {
            "broker_id": self._node_id,
            "cluster_id": self._cluster_id,
            "incarnation_id": self._incarnation_id,
            "listeners": [
                {"name": name, "host": host, "port": port, "security_protocol": 0} for name, (host, port) in self._listeners.items()
            ],
            "features": [
                {"name": name, "min_supported_version": low, "max_supported_version": high}
                for name, (low, high) in SUPPORTED_FEATURES.items()
            ],
            "rack": self._config.get("broker.rack"),
            "is_migrating_zk_broker": False,
            "log_dirs": self._directories.live_ids,
            "previous_broker_epoch": self._previous_broker_epoch,
        }

    def _registered(self, response: Any | None) -> None:
        if self.state is not BrokerState.STARTING:
            return
        if response is not None and response.error_code == Errors.NONE:
            self.broker_epoch = response.broker_epoch
            log.info("broker %d is registered with epoch %d", self._node_id, self.broker_epoch)
            self.state = BrokerState.RECOVERY
            # The registration may have been replayed before its answer came.
            self._look(self._image)
            if not self._caught_up:
                self._heartbeat()
            return
        if response is None:
            is_usual = self._clock.now_ms() - self._started_ms < ELECTION_PATIENCE_MS
            self._problem("Failed to connect to controller quorum: no controller answers", is_usual=is_usual)
        else:
            error = Errors.of(response.error_code)
            if error in (Errors.INCONSISTENT_CLUSTER_ID, Errors.INVALID_REGISTRATION, Errors.UNSUPPORTED_VERSION):
                self._fail(f"the controller refused the registration of broker {self._node_id}: {error.name}")
                return
            if error is Errors.DUPLICATE_BROKER_REGISTRATION:
                # The session of the process before this one has to run out first.
                self._problem("the registration of this broker's former process has not expired yet")
            else:
                self._problem(f"the controller answered the registration with {Errors.name_of(response.error_code)}")
        self._clock.call_later(REGISTRATION_RETRY_MS, self._register)

    def _problem(self, what: str, *, is_usual: bool = False) -> None:
        self._last_problem = what
        if what != self._last_told and not is_usual:
            self._last_told = what
            log.warning("broker %d: %s; trying again", self._node_id, what)

    def _give_up(self) -> None:
        timeout_ms = self._config.get_int("initial.broker.registration.timeout.ms")
        why = self._last_problem or "Failed to connect to controller quorum: no controller answers"
        self._fail(
            f"{why}. Broker {self._node_id} gave up after {timeout_ms} ms (initial.broker.registration.timeout.ms). "
            "Start the controllers first: a broker needs a quorum with an elected leader."
        )

    def _fail(self, why: str) -> None:
        self.state = BrokerState.NOT_RUNNING
        self._on_failed(why)

    def _tell_directories(self, image: MetadataImage) -> None:
        """Register again, as the same broker, when the cluster has come to a level at which directories are known (KIP-858)."""
        broker = image.brokers.get(self._node_id)
        is_known = broker is None or broker.broker_epoch != self.broker_epoch or bool(broker.log_dirs)
        is_in_service = self.state in (BrokerState.RECOVERY, BrokerState.RUNNING)
        if is_known or self._is_telling or not is_in_service or image.features.get(METADATA_VERSION_FEATURE, 0) < DIRECTORIES_SINCE:
            return
        self._is_telling = True

        def told(response: Any | None) -> None:
            self._is_telling = False
            if response is None or response.error_code != Errors.NONE:
                self._clock.call_later(REGISTRATION_RETRY_MS, lambda: self._tell_directories(self._image))

        self._channel.send(ApiKey.BROKER_REGISTRATION, self._registration(), told, timeout_ms=self._answer_within_ms)

    # --- heartbeats ----------------------------------------------------------------------------

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The image moved: perhaps far enough to be unfenced."""
        if METADATA_VERSION_FEATURE in delta.changed_features:
            self._tell_directories(image)
        if self.state is BrokerState.RECOVERY:
            self._look(image)
        elif self.state is BrokerState.RUNNING and any(_leaves(image, broker_id) for broker_id in delta.changed_brokers):
            # A broker may go once all others have told that they know; no need to let it wait for the next interval.
            self._heartbeat()

    def _look(self, image: MetadataImage) -> None:
        broker = image.brokers.get(self._node_id)
        if broker is None or broker.broker_epoch != self.broker_epoch:
            return
        if not self._caught_up:
            self._caught_up = True
            self._heartbeat()
        elif not broker.fenced:
            self._run()

    def _run(self) -> None:
        self.state = BrokerState.RUNNING
        log.info("broker %d is unfenced and serves", self._node_id)
        self._on_running()

    def _schedule(self, delay_ms: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(delay_ms, self._heartbeat)

    def _heartbeat(self) -> None:
        if self.state not in (BrokerState.RECOVERY, BrokerState.RUNNING, BrokerState.PENDING_CONTROLLED_SHUTDOWN):
            return
        if self._heartbeat_under_way:
            self._heartbeat_again = True
            return
        self._heartbeat_under_way = True
        self._heartbeat_again = False
        # Due again one interval after this one was sent, however long the answer takes.
        self._schedule(self._interval_ms)
        offline_ids = self._directories.offline_ids
        body = {
            "broker_id": self._node_id,
            "broker_epoch": self.broker_epoch,
            "current_metadata_offset": self._image.offset,
            "want_fence": self.state is BrokerState.RECOVERY and not self._caught_up,
            "want_shut_down": self.state is BrokerState.PENDING_CONTROLLED_SHUTDOWN,
            "offline_log_dirs": offline_ids,
            # Before it has seen its registration it knows no settings of the cluster.
            "cordoned_log_dirs": self._directories.ids_of(self._config.get_list("cordoned.log.dirs")) if self._caught_up else None,
        }

        def answered(response: Any | None) -> None:
            if response is not None and response.error_code == Errors.NONE:
                self._told_offline.update(offline_ids)
            self._heartbeat_answered(response)

        self._channel.send(ApiKey.BROKER_HEARTBEAT, body, answered, timeout_ms=self._answer_within_ms)

    def directories_changed(self) -> None:
        """A log directory is out of use, or others are cordoned: the controller hears of it at once, and with every heartbeat after it.

        As long as it has not heard of a failure it takes this broker for the leader of what lay there: a broker that cannot
        tell it in time ends.
        """
        failed = set(self._directories.offline_ids) - self._told_offline
        if failed:
            self._end_unless_told(failed)
        self._heartbeat()

    def _end_unless_told(self, failed: set[uuid.UUID]) -> None:
        timeout_ms = self._config.get_int("log.dir.failure.timeout.ms")

        def check() -> None:
            if untold := failed - self._told_offline:
                names = ", ".join(sorted(map(uuid_to_text, untold)))
                self._fail(
                    f"the failure of log directory {names} could not be told to the controllers within {timeout_ms} ms "
                    "(log.dir.failure.timeout.ms)"
                )

        self._told_timers.append(self._clock.call_later(timeout_ms, check))

    def _heartbeat_answered(self, response: Any | None) -> None:
        self._heartbeat_under_way = False
        if response is None or response.error_code != Errors.NONE:
            if response is not None and response.error_code != Errors.NOT_CONTROLLER:
                self._problem(f"the controller answered a heartbeat with {Errors.name_of(response.error_code)}")
            self._schedule(HEARTBEAT_RETRY_MS)
            return
        self._last_problem = self._last_told = ""
        if self.state is BrokerState.PENDING_CONTROLLED_SHUTDOWN:
            if response.should_shut_down:
                self._stopped()
            else:
                self._await_word()
                self._schedule(SHUTDOWN_HEARTBEAT_MS)
        elif self._heartbeat_again:
            self._heartbeat()

    # --- controlled shutdown -------------------------------------------------------------------

    def begin_controlled_shutdown(self, on_stopped: Callable[[], None]) -> None:
        """Ask the controller to move leadership away; ``on_stopped`` is called when it has."""
        if self.state not in (BrokerState.RECOVERY, BrokerState.RUNNING):
            self.state = BrokerState.SHUTTING_DOWN
            on_stopped()
            return
        self._on_stopped = on_stopped
        self.state = BrokerState.PENDING_CONTROLLED_SHUTDOWN
        self._await_word()
        self._heartbeat()

    def _await_word(self) -> None:
        if self._silence_timer is not None:
            self._silence_timer.cancel()
        self._silence_timer = self._clock.call_later(SHUTDOWN_SILENCE_MS, self._stopped)

    def _stopped(self) -> None:
        self.close()
        on_stopped, self._on_stopped = self._on_stopped, None
        if on_stopped is not None:
            on_stopped()

    def close(self) -> None:
        """No more heartbeats."""
        self.state = BrokerState.SHUTTING_DOWN
        for timer in (self._timer, self._silence_timer, *self._told_timers):
            if timer is not None:
                timer.cancel()
        self._timer = self._silence_timer = None
        self._told_timers.clear()


def _leaves(image: MetadataImage, broker_id: int) -> bool:
    broker = image.brokers.get(broker_id)
    return broker is not None and broker.in_controlled_shutdown and not broker.fenced
