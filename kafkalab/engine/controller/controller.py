"""The quorum controller: every node of the quorum has one, the raft leader's is active.

A request becomes an operation. Operations run one at a time, in order: one computes from the
committed image which records it wants and what to answer, the records are appended as one batch,
and when they are committed and replayed the answer goes out and the next operation starts. Nothing
but replay changes the image, so what was not committed never happened. An operation without
records is answered at once.

When leadership is lost every operation that is waiting is answered NOT_CONTROLLER. Its records may
still become committed under the next leader; whoever asked has to look again, as with any request
that was answered by a retriable error.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.features import METADATA_VERSION
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.brokers import BrokerLifecycles, check_broker_epoch
from kafkalab.engine.controller.configs import ConfigChanges
from kafkalab.engine.controller.directories import DirectoryAssignments
from kafkalab.engine.controller.elections import IMBALANCED_PER_PASS_MAX, UNCLEAN_ELECTION, Elections
from kafkalab.engine.controller.isr import IsrChanges
from kafkalab.engine.controller.operation import Body, Operation, Plan, Respond
from kafkalab.engine.controller.sessions import BrokerSessions
from kafkalab.engine.controller.telemetry import ControllerTelemetry
from kafkalab.engine.controller.topics import TopicChanges
from kafkalab.engine.metadata.image import METADATA_VERSION_FEATURE, MetadataDelta, MetadataImage
from kafkalab.engine.protocol.metadata_records import (
    BeginTransactionRecord,
    ConfigRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    NoOpRecord,
    ProducerIdsRecord,
    encode_record,
)
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from random import Random

log = logging.getLogger(__name__)


PRODUCER_ID_BLOCK_LENGTH: Final = 1_000
_PRODUCER_ID_MAX: Final = 2**63 - 1

ErrorBody = Callable[[Any, Errors, str | None], Body]


class MetadataWriter(Protocol):
    """What the controller needs of raft."""

    def append(self, values: Sequence[bytes], on_commit: Callable[[bool], None]) -> int:
        """Append one batch as the leader and return its last offset; False when it will not be known to commit."""

    @property
    def leader_id(self) -> int:
        """The node id of the quorum's leader, -1 while unknown."""


class QuorumController:
    """Owns what may change in the metadata while its node leads the quorum.

    It publishes for :class:`~kafkalab.engine.metadata.loader.MetadataLoader` and is told by it of
    leadership.
    """

    def __init__(
        self,
        node_id: int,
        cluster_id: str,
        config: BrokerConfig,
        clock: Clock,
        rng: Random,
        sink: TelemetrySink,
        raft: MetadataWriter,
        image: MetadataImage,
    ) -> None:
        self.node_id = node_id
        self.image = image
        self._config = config
        self._clock = clock
        self._raft = raft
        self._epoch = -1  # of the leadership under which this controller is active, -1 while it is not
        self._queue: deque[Operation] = deque()
        self._pending: Operation | None = None  # the one whose records are appended and not yet replayed
        self._draining = False
        self._timers: list[Timer | None] = [None, None]  # of the preferred leaders' check, and of idle records

        session_timeout_ms = config.get_int("broker.session.timeout.ms")
        self.sessions = BrokerSessions(clock, timeout_ms=session_timeout_ms, on_expired=self._session_expired)
        self.elections = Elections(image, config)
        self._brokers = BrokerLifecycles(image, self.elections, self.sessions, cluster_id=cluster_id, session_timeout_ms=session_timeout_ms)
        self._isr = IsrChanges(image, config, self.elections)
        self._directories = DirectoryAssignments(image, self.elections)
        self._topics = TopicChanges(image, config, self.elections, rng)
        voter_ids = frozenset(int(voter.partition("@")[0]) for voter in config.get_list("controller.quorum.voters"))
        self._configs = ConfigChanges(image, config, voter_ids | {node_id})
        self._telemetry = ControllerTelemetry(node_id=node_id, clock=clock, sink=sink, config=config)

    @property
    def is_active(self) -> bool:
        """Whether this node is the active controller."""
        return self._epoch >= 0

    @property
    def queue_length(self) -> int:
        """Operations that wait or are under way."""
        return len(self._queue) + (self._pending is not None)

    # --- leadership ----------------------------------------------------------------------------

    def became_leader(self, epoch: int) -> None:
        """Raft leads in this epoch, and the image has everything that was committed before."""
        assert not self.is_active, f"already active in epoch {self._epoch}"
        self._epoch = epoch
        # Nobody knows when a broker was last heard of by the controller before: all start afresh.
        self.sessions.clear()
        for broker in self.image.brokers.values():
            if not broker.fenced:
                self.sessions.touch(broker.broker_id, broker.broker_epoch)
        self._telemetry.take_over(self.image)
        if METADATA_VERSION_FEATURE not in self.image.features:
            self._submit_internal("bootstrap", self._plan_bootstrap)
        self._arm_rebalance()
        self._arm_idle()

    def resigned(self) -> None:
        """Raft leads no longer."""
        if not self.is_active:
            return
        self._epoch = -1
        self._stop_timers()
        refused = [self._pending] if self._pending is not None else []
        refused += self._queue
        self._pending = None
        self._queue.clear()
        for operation in refused:
            operation.refuse(self._not_controller())

    def close(self) -> None:
        """The node stops: no timer fires any more, nobody is answered."""
        self._epoch = -1
        self._stop_timers()
        self._queue.clear()
        self._pending = None

    def _stop_timers(self) -> None:
        self.sessions.clear()
        for timer in self._timers:
            if timer is not None:
                timer.cancel()
        self._timers = [None, None]

    def _not_controller(self) -> ApiError:
        leader_id = self._raft.leader_id
        if leader_id < 0 or leader_id == self.node_id:
            return ApiError(Errors.NOT_CONTROLLER, "No controller appears to be active.")
        return ApiError(Errors.NOT_CONTROLLER, f"The active controller appears to be node {leader_id}.")

    # --- requests ------------------------------------------------------------------------------

    def handle_broker_registration(self, request: Any, respond: Respond) -> None:
        """A broker wants to be part of the cluster."""
        self._submit("BrokerRegistration", request, respond, self._brokers.register, responses.broker_registration_error)

    def handle_broker_heartbeat(self, request: Any, respond: Respond) -> None:
        """A broker lives. That counts from now on, however long the queue is."""
        if self.is_active:
            broker = self.image.brokers.get(request.broker_id)
            if broker is not None and broker.broker_epoch == request.broker_epoch:
                self.sessions.touch(broker.broker_id, broker.broker_epoch)
        self._submit("BrokerHeartbeat", request, respond, self._brokers.heartbeat, responses.broker_heartbeat_error)

    def handle_alter_partition(self, request: Any, respond: Respond) -> None:
        """A leader wants another ISR."""
        self._submit("AlterPartition", request, respond, self._isr.alter, responses.alter_partition_error)

    def handle_allocate_producer_ids(self, request: Any, respond: Respond) -> None:
        """A broker wants a block of producer ids."""
        self._submit("AllocateProducerIds", request, respond, self._plan_producer_ids, responses.allocate_producer_ids_error)

    def handle_assign_replicas_to_dirs(self, request: Any, respond: Respond) -> None:
        """A broker tells in which of its directories replicas are."""
        self._submit("AssignReplicasToDirs", request, respond, self._directories.assign, responses.assign_replicas_to_dirs_error)

    def handle_create_topics(self, request: Any, respond: Respond) -> None:
        """Somebody wants topics."""
        self._submit("CreateTopics", request, respond, self._topics.create, responses.create_topics_error, timeout_ms=request.timeout)

    def handle_delete_topics(self, request: Any, respond: Respond) -> None:
        """Somebody wants topics gone."""
        self._submit("DeleteTopics", request, respond, self._topics.delete, responses.delete_topics_error, timeout_ms=request.timeout)

    def handle_create_partitions(self, request: Any, respond: Respond) -> None:
        """Somebody wants more partitions."""
        self._submit(
            "CreatePartitions",
            request,
            respond,
            self._topics.create_partitions,
            responses.create_partitions_error,
            timeout_ms=request.timeout,
        )

    def handle_incremental_alter_configs(self, request: Any, respond: Respond) -> None:
        """Somebody wants some settings otherwise."""
        self._submit(
            "IncrementalAlterConfigs",
            request,
            respond,
            lambda request: self._with_elections(self._configs.incremental_alter(request)),
            responses.alter_configs_error,
        )

    def handle_alter_configs(self, request: Any, respond: Respond) -> None:
        """Somebody says what the settings are, and that there are no others."""
        self._submit(
            "AlterConfigs",
            request,
            respond,
            lambda request: self._with_elections(self._configs.alter(request)),
            responses.alter_configs_error,
        )

    def _with_elections(self, plan: Plan) -> Plan:
        """Partitions without a leader do not wait when unclean elections become allowed."""
        if any(isinstance(record, ConfigRecord) and record.name == UNCLEAN_ELECTION for record in plan.records):

            def elect() -> Plan:
                return Plan(records=self.elections.of_leaderless(), cause="an unclean election became allowed")

            plan.on_committed = lambda _offset: self._submit_internal("unclean elections", elect)
        return plan

    def _plan_producer_ids(self, request: Any) -> Plan:
        check_broker_epoch(self.image, request.broker_id, request.broker_epoch)
        start = self.image.next_producer_id
        if start > _PRODUCER_ID_MAX - PRODUCER_ID_BLOCK_LENGTH:
            raise ApiError(Errors.UNKNOWN_SERVER_ERROR, f"Exhausted all producerIds as the next block's end producerId is {start}")
        record = ProducerIdsRecord(
            broker_id=request.broker_id, broker_epoch=request.broker_epoch, next_producer_id=start + PRODUCER_ID_BLOCK_LENGTH
        )
        return Plan(
            response={"throttle_time": 0, "error_code": 0, "producer_id_start": start, "producer_id_len": PRODUCER_ID_BLOCK_LENGTH},
            records=[record],
        )

    # --- what the controller does of its own accord ----------------------------------------------

    def _plan_bootstrap(self) -> Plan:
        # Only the metadata version: the other features start at level 0.
        return Plan(
            records=[
                BeginTransactionRecord(name="Bootstrap records"),
                FeatureLevelRecord(name=METADATA_VERSION_FEATURE, feature_level=METADATA_VERSION),
                EndTransactionRecord(),
            ]
        )

    def _session_expired(self, broker_id: int, broker_epoch: int) -> None:
        self._submit_internal(f"fence broker {broker_id}", lambda: self._brokers.fence_silent(broker_id, broker_epoch))

    def _arm_rebalance(self, delay_ms: float | None = None) -> None:
        if self._config.get_boolean("auto.leader.rebalance.enable"):
            interval_ms = 1000.0 * self._config.get_int("leader.imbalance.check.interval.seconds")
            self._timers[0] = self._clock.call_later(interval_ms if delay_ms is None else delay_ms, self._rebalance)

    def _rebalance(self) -> None:
        def plan() -> Plan:
            records = self.elections.toward_preferred()
            self._arm_rebalance(0.0 if len(records) == IMBALANCED_PER_PASS_MAX else None)
            return Plan(records=records, cause="leadership went back to the preferred replica")

        self._submit_internal("preferred leaders", plan)

    def _arm_idle(self) -> None:
        interval_ms = self._config.get_int("metadata.max.idle.interval.ms")
        if interval_ms > 0:
            self._timers[1] = self._clock.call_later(interval_ms, partial(self._write_idle, self.image.offset))

    def _write_idle(self, offset_before: int) -> None:
        self._arm_idle()
        if self.queue_length == 0 and self.image.offset == offset_before:
            self._submit_internal("idle record", lambda: Plan(records=[NoOpRecord()]))

    # --- operations ----------------------------------------------------------------------------

    def _submit(
        self,
        name: str,
        request: Any,
        respond: Respond,
        plan: Callable[[Any], Plan],
        error_body: ErrorBody,
        *,
        timeout_ms: float | None = None,
    ) -> None:
        def refuse(refusal: ApiError) -> None:
            respond(error_body(request, refusal.error, refusal.message))

        if not self.is_active:
            refuse(self._not_controller())
            return
        deadline_ms = None if timeout_ms is None else self._clock.now_ms() + max(0.0, timeout_ms)
        self._enqueue(Operation(name=name, plan=partial(plan, request), respond=respond, refuse=refuse, deadline_ms=deadline_ms))

    def _submit_internal(self, name: str, plan: Callable[[], Plan]) -> None:
        if self.is_active:
            self._enqueue(Operation(name=name, plan=plan, respond=lambda _body: None, refuse=partial(_note_refusal, name)))

    def _enqueue(self, operation: Operation) -> None:
        self._queue.append(operation)
        self._drain()

    def _drain(self) -> None:
        # A quorum of one commits within append, and answers may ask for more: one loop, no recursion.
        if self._draining:
            return
        self._draining = True
        try:
            while self._queue and self._pending is None:
                self._start(self._queue.popleft())
        finally:
            self._draining = False

    def _start(self, operation: Operation) -> None:
        if operation.deadline_ms is not None and self._clock.now_ms() > operation.deadline_ms:
            operation.refuse(ApiError(Errors.REQUEST_TIMED_OUT, "The controller had no time for the request before its timeout."))
            return
        try:
            plan = operation.decided = operation.plan()
        except ApiError as refusal:
            operation.refuse(refusal)
            return
        except AssertionError:
            raise
        except Exception:
            log.exception("%s failed", operation.name)
            operation.refuse(ApiError(Errors.UNKNOWN_SERVER_ERROR))
            return
        if not plan.records:
            if plan.on_committed is not None:
                plan.on_committed(self.image.offset)
            operation.respond(plan.response)
            return
        self._pending = operation
        try:
            operation.last_offset = self._raft.append(
                [encode_record(record) for record in plan.records], partial(self._appended, operation)
            )
        except ApiError as refusal:
            # Raft leads no longer, and is about to say so.
            self._pending = None
            operation.refuse(refusal)
            return
        self._maybe_complete()

    def _appended(self, operation: Operation, committed: bool) -> None:
        # Success is known by replay, which also has to have happened before anybody is answered.
        if not committed and self._pending is operation:
            self._pending = None
            operation.refuse(self._not_controller())
            self._drain()

    def _maybe_complete(self) -> None:
        operation = self._pending
        if operation is None or operation.last_offset is None or self.image.offset < operation.last_offset:
            return
        self._pending = None
        plan = operation.decided
        assert plan is not None, "an operation with records was decided"
        if plan.on_committed is not None:
            plan.on_committed(operation.last_offset)
        operation.respond(plan.response)
        self._drain()

    # --- commits -------------------------------------------------------------------------------

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The image has moved on, by an operation of ours or as a standby."""
        if not self.is_active:
            self._telemetry.watch(delta)
            return
        plan = self._pending.decided if self._pending is not None else None
        self._telemetry.tell(delta, image, plan or Plan())
        for broker_id, old in delta.changed_brokers.items():
            now = image.brokers.get(broker_id)
            if now is None or (old is not None and old.broker_epoch != now.broker_epoch):
                self.sessions.remove(broker_id)
        self._maybe_complete()


def _note_refusal(name: str, refusal: ApiError) -> None:
    log.debug("%s was not done: %s", name, refusal)
