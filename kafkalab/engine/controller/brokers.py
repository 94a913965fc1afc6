"""A broker's way through the cluster: registered, unfenced, fenced, shut down.

A registration is a record and outlives every node; whether a broker is heard of is a session and
lives in the active controller only. A fenced broker leads nothing and is in no ISR (but for ISRs of
which it is the last member); clients are not told of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.features import KRAFT_VERSION_FEATURE
from kafkalab.engine.common.ids import uuid_to_text
from kafkalab.engine.controller.elections import Elections
from kafkalab.engine.controller.levels import CORDONED_DIRECTORIES_SINCE, DIRECTORIES_SINCE, metadata_version_of
from kafkalab.engine.controller.operation import Plan
from kafkalab.engine.controller.sessions import BrokerSession, BrokerSessions
from kafkalab.engine.metadata.image import METADATA_VERSION_FEATURE, BrokerRegistration, MetadataImage
from kafkalab.engine.protocol.metadata_records import (
    DIRECTORY_LOST,
    DIRECTORY_MIGRATING,
    DIRECTORY_UNASSIGNED,
    BrokerEndpoint,
    BrokerRegistrationChangeRecord,
    FeatureRange,
    MetadataRecord,
    RegisterBrokerRecord,
    UnregisterBrokerRecord,
)

_RESERVED_DIRECTORIES: Final = frozenset({DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, DIRECTORY_LOST})
_FENCE: Final = 1
_UNFENCE: Final = -1
CONTROLLED_SHUTDOWN: Final = "controlled shutdown"


def check_broker_epoch(image: MetadataImage, broker_id: int, broker_epoch: int) -> BrokerRegistration:
    """The broker's registration.

    :raises ApiError: STALE_BROKER_EPOCH when that registration is not the present one.
    """
    broker = image.brokers.get(broker_id)
    if broker is None:
        raise ApiError(Errors.STALE_BROKER_EPOCH, f"No broker registration found for broker id {broker_id}")
    if broker.broker_epoch != broker_epoch:
        raise ApiError(Errors.STALE_BROKER_EPOCH, f"Expected broker epoch {broker.broker_epoch}, but got broker epoch {broker_epoch}")
    return broker


def _fence_record(broker: BrokerRegistration, fenced: int) -> BrokerRegistrationChangeRecord:
    return BrokerRegistrationChangeRecord(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, fenced=fenced)


class BrokerLifecycles:
    """Plans what happens to brokers."""

    def __init__(
        self,
        image: MetadataImage,
        elections: Elections,
        sessions: BrokerSessions,
        *,
        cluster_id: str,
        session_timeout_ms: int,
        kraft_version: Callable[[], int],
    ) -> None:
        """``kraft_version`` is the level that raft keeps, beside the features of the image."""
        self._image = image
        self._elections = elections
        self._sessions = sessions
        self._cluster_id = cluster_id
        self._session_timeout_ms = session_timeout_ms
        self._kraft_version = kraft_version

    # --- registration --------------------------------------------------------------------------

    def register(self, request: Any) -> Plan:
        """A broker starts, or tells its directories again. Checks are in Kafka's order."""
        if request.cluster_id != self._cluster_id:
            raise ApiError(
                Errors.INCONSISTENT_CLUSTER_ID, f"Expected cluster ID {self._cluster_id}, but got cluster ID {request.cluster_id}"
            )
        broker_id = request.broker_id
        if broker_id < 0 or request.incarnation_id is None:
            raise ApiError(Errors.INVALID_REGISTRATION, "A registration needs a broker id and an incarnation id")
        existing = self._image.brokers.get(broker_id)
        is_same = existing is not None and existing.incarnation_id == request.incarnation_id
        if existing is not None and not is_same and self._sessions.is_valid(broker_id, existing.broker_epoch):
            raise ApiError(
                Errors.DUPLICATE_BROKER_REGISTRATION,
                "Another broker is registered with that broker id. If the broker was recently restarted "
                "this should self-resolve once the heartbeat manager expires the broker's session.",
            )
        if getattr(request, "is_migrating_zk_broker", False):
            raise ApiError(Errors.BROKER_ID_NOT_REGISTERED, "Controller does not support registering ZK brokers.")
        directories = self._checked_directories(broker_id, request.log_dirs)
        features = self._checked_features(request.features)

        records: list[MetadataRecord] = []
        if not is_same:
            records += self._shutdown_of(broker_id, existing, request.previous_broker_epoch)
        keeps = existing if is_same else None
        broker_epoch = self._image.offset + 1 if keeps is None else keeps.broker_epoch
        records.append(
            RegisterBrokerRecord(
                broker_id=broker_id,
                incarnation_id=request.incarnation_id,
                broker_epoch=broker_epoch,
                end_points=tuple(
                    BrokerEndpoint(name=listener.name, host=listener.host, port=listener.port, security_protocol=listener.security_protocol)
                    for listener in request.listeners
                ),
                features=features,
                rack=request.rack,
                fenced=keeps is None or keeps.fenced,
                in_controlled_shutdown=keeps is not None and keeps.in_controlled_shutdown,
                log_dirs=directories,
            )
        )
        return Plan(
            response={"throttle_time": 0, "error_code": 0, "broker_epoch": broker_epoch},
            records=records,
            cause=f"broker {broker_id} registered anew",
            fence_cause="registered anew",
        )

    def _shutdown_of(self, broker_id: int, existing: BrokerRegistration | None, previous_broker_epoch: int) -> Sequence[MetadataRecord]:
        """What the incarnation before led or replicated in sync, the new one has yet to earn.

        A broker that stopped cleanly names the epoch that it had then, and is known to have all that it
        had; any other may lack records, and is no eligible leader any more (KIP-966). Versions of the
        request that cannot name one count as unclean.
        """
        if not self._elections.elr_enabled or (existing is not None and previous_broker_epoch == existing.broker_epoch):
            return self._elections.without(broker_id)
        return self._elections.without_lost(broker_id)

    def _checked_directories(self, broker_id: int, log_dirs: tuple[uuid.UUID | None, ...]) -> tuple[uuid.UUID, ...]:
        if metadata_version_of(self._image) < DIRECTORIES_SINCE:
            return ()
        if not log_dirs:
            raise ApiError(Errors.INVALID_REGISTRATION, "No directories specified in request")
        directories = tuple(directory for directory in log_dirs if directory is not None and directory not in _RESERVED_DIRECTORIES)
        if len(directories) != len(log_dirs):
            raise ApiError(Errors.INVALID_REGISTRATION, "Reserved directory ID in request")
        if len(set(directories)) != len(directories):
            raise ApiError(Errors.INVALID_REGISTRATION, "Duplicate directory ID in request")
        for other in self._image.brokers.values():
            taken = next((directory for directory in directories if directory in other.log_dirs), None)
            if other.broker_id != broker_id and taken is not None:
                raise ApiError(
                    Errors.INVALID_REGISTRATION, f"Broker {other.broker_id} is already registered with directory {uuid_to_text(taken)}"
                )
        return directories

    def _checked_features(self, features: Any) -> tuple[FeatureRange, ...]:
        ranges = {feature.name: (feature.min_supported_version, feature.max_supported_version) for feature in features}
        if METADATA_VERSION_FEATURE not in ranges:
            raise ApiError(Errors.INVALID_REGISTRATION, f"Request features do not contain '{METADATA_VERSION_FEATURE}'")
        for name, level in {**self._image.features, KRAFT_VERSION_FEATURE: self._kraft_version()}.items():
            low, high = ranges.get(name, (0, 0))
            if not low <= level <= high:
                raise ApiError(
                    Errors.UNSUPPORTED_VERSION,
                    f"Unable to register because the broker does not support finalized version {level} of {name}. "
                    f"The broker wants a version between {low} and {high}, inclusive.",
                )
        return tuple(
            FeatureRange(name=name, min_supported_version=low, max_supported_version=high) for name, (low, high) in sorted(ranges.items())
        )

    # --- heartbeats ----------------------------------------------------------------------------

    def heartbeat(self, request: Any) -> Plan:
        """A broker lives, and may want to be let in, kept out, or let go."""
        broker = check_broker_epoch(self._image, request.broker_id, request.broker_epoch)
        session = self._sessions.touch(broker.broker_id, broker.broker_epoch)
        session.metadata_offset = request.current_metadata_offset
        plan = self._answer(broker, session, request)
        self._take_offline(broker, request.offline_log_dirs, plan)
        self._cordon(broker, request.cordoned_log_dirs, plan)
        return plan

    def _take_offline(self, broker: BrokerRegistration, directories: Iterable[uuid.UUID | None], plan: Plan) -> None:
        """A broker has lost directories: what lies in them is led by others, and counts in no ISR."""
        lost = [directory for directory in broker.log_dirs if directory in set(directories)]
        if not lost or metadata_version_of(self._image) < DIRECTORIES_SINCE:
            return
        remaining = tuple(directory for directory in broker.log_dirs if directory not in lost)
        change = BrokerRegistrationChangeRecord(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, log_dirs=remaining)
        plan.records = [*self._elections.without_directories(broker.broker_id, lost), change, *plan.records]
        plan.cause = (
            plan.cause or f"broker {broker.broker_id} lost {'a log directory' if len(lost) == 1 else f'{len(lost)} log directories'}"
        )

    def _cordon(self, broker: BrokerRegistration, directories: Iterable[uuid.UUID | None] | None, plan: Plan) -> None:
        """A broker tells which of its directories get no new replicas; it does not before it has caught up."""
        if directories is None or metadata_version_of(self._image) < CORDONED_DIRECTORIES_SINCE:
            return
        cordoned = tuple(directory for directory in directories if directory is not None)
        if broker.cordoned_log_dirs is None or set(cordoned) != set(broker.cordoned_log_dirs):
            change = BrokerRegistrationChangeRecord(
                broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, cordoned_log_dirs=cordoned
            )
            plan.records = [*plan.records, change]

    def _answer(self, broker: BrokerRegistration, session: BrokerSession, request: Any) -> Plan:
        is_caught_up = request.current_metadata_offset >= self._image.broker_record_offset(broker.broker_id)
        if broker.fenced:
            return self._heartbeat_of_fenced(broker, request, is_caught_up)
        is_leaving = broker.in_controlled_shutdown or session.controlled_shutdown_offset >= 0
        if is_leaving:
            done = not self._elections.leads_anything(broker.broker_id) and self._others_know(session)
            return self._let_go(broker, is_caught_up) if done else self._reply(broker, is_caught_up)
        if request.want_shut_down:
            if request.want_fence or not self._elections.leads_anything(broker.broker_id):
                return self._let_go(broker, is_caught_up)
            return self._start_controlled_shutdown(broker, session, is_caught_up)
        if request.want_fence:
            plan = self._fence(broker, f"broker {broker.broker_id} asked for it")
            plan.response = self._reply(broker, is_caught_up, fenced=True).response
            return plan
        return self._reply(broker, is_caught_up)

    def _reply(self, broker: BrokerRegistration, is_caught_up: bool, *, fenced: bool | None = None, may_go: bool = False) -> Plan:
        is_fenced = broker.fenced if fenced is None else fenced
        return Plan(
            response={
                "throttle_time": 0,
                "error_code": 0,
                "is_caught_up": is_caught_up,
                "is_fenced": is_fenced,
                "should_shut_down": may_go,
            }
        )

    def _heartbeat_of_fenced(self, broker: BrokerRegistration, request: Any, is_caught_up: bool) -> Plan:
        if request.want_shut_down:
            self._sessions.remove(broker.broker_id)
            return self._reply(broker, is_caught_up, may_go=True)
        # Who was leaving when it was fenced does not come back but by registering anew.
        if request.want_fence or not is_caught_up or broker.in_controlled_shutdown:
            return self._reply(broker, is_caught_up)
        plan = self._reply(broker, is_caught_up, fenced=False)
        plan.records = [_fence_record(broker, _UNFENCE), *self._elections.with_unfenced(broker.broker_id)]
        plan.cause = f"broker {broker.broker_id} was unfenced"
        return plan

    def _start_controlled_shutdown(self, broker: BrokerRegistration, session: BrokerSession, is_caught_up: bool) -> Plan:
        plan = self._reply(broker, is_caught_up)
        change = BrokerRegistrationChangeRecord(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, in_controlled_shutdown=1)
        plan.records = [change, *self._elections.without(broker.broker_id)]
        plan.cause = f"broker {broker.broker_id} is shutting down"

        def note_offset(last_offset: int) -> None:
            session.controlled_shutdown_offset = last_offset

        plan.on_committed = note_offset
        return plan

    def _others_know(self, session: BrokerSession) -> bool:
        """Whether every active broker has seen that leadership moved away from the one that leaves."""
        for other in self._image.brokers.values():
            if other.is_active:
                their = self._sessions.get(other.broker_id)
                if their is None or their.metadata_offset < session.controlled_shutdown_offset:
                    return False
        return True

    def _let_go(self, broker: BrokerRegistration, is_caught_up: bool) -> Plan:
        plan = self._fence(broker, CONTROLLED_SHUTDOWN)
        plan.cause = f"broker {broker.broker_id} shut down"
        plan.response = self._reply(broker, is_caught_up, fenced=True, may_go=True).response

        def forget(_last_offset: int) -> None:
            # It goes with our leave: its next incarnation need not wait for this session to end.
            self._sessions.remove(broker.broker_id)

        plan.on_committed = forget
        return plan

    # --- fencing -------------------------------------------------------------------------------

    def _fence(self, broker: BrokerRegistration, cause: str, silent_ms: float = 0.0) -> Plan:
        return Plan(
            records=[*self._elections.without(broker.broker_id), _fence_record(broker, _FENCE)],
            cause=f"broker {broker.broker_id} was fenced",
            fence_cause=cause,
            silent_ms=silent_ms,
        )

    def fence_silent(self, broker_id: int, broker_epoch: int) -> Plan:
        """A session ran out; it may have come back, or the broker be gone, since that was noticed."""
        broker = self._image.brokers.get(broker_id)
        if broker is None or broker.broker_epoch != broker_epoch or self._sessions.is_valid(broker_id, broker_epoch):
            return Plan()
        silent_ms = self._sessions.silent_ms(broker_id)
        if broker.fenced:
            self._sessions.remove(broker_id)
            return Plan()
        timeout = f"{self._session_timeout_ms:,}".replace(",", " ")
        plan = self._fence(broker, f"no heartbeat for {timeout} ms (broker.session.timeout.ms)", silent_ms)
        plan.on_committed = lambda _last_offset: self._sessions.remove(broker_id)
        return plan

    # --- leaving for good ----------------------------------------------------------------------

    def unregister(self, request: Any) -> Plan:
        """UnregisterBroker: a broker that will not come back is forgotten; whether it still runs is not asked."""
        broker = self._image.brokers.get(request.broker_id)
        if broker is None:
            raise ApiError(Errors.BROKER_ID_NOT_REGISTERED, f"Broker ID {request.broker_id} is not currently registered")
        record = UnregisterBrokerRecord(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch)
        return Plan(
            response={"throttle_time": 0, "error_code": 0, "error_message": None},
            records=[*self._elections.without(broker.broker_id), record],
            cause=f"broker {broker.broker_id} was unregistered",
        )
