"""The quorum controller: every node of the quorum has one, the raft leader's is active.

A request becomes an operation in a queue (:mod:`~kafkalab.engine.controller.queue`): it computes from
the committed image which records it wants and what to answer, and the answer goes out when they are
committed.

When leadership is lost every operation that is waiting is answered NOT_CONTROLLER. Its records may
still become committed under the next leader; whoever asked has to look again, as with any request
that was answered by a retriable error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.time import Clock
from kafkalab.engine.controller import responses
from kafkalab.engine.controller.activation import activation_records, feature_records
from kafkalab.engine.controller.brokers import BrokerLifecycles, check_broker_epoch
from kafkalab.engine.controller.configs import ConfigChanges
from kafkalab.engine.controller.controllers import registration_of_controller
from kafkalab.engine.controller.directories import DirectoryAssignments
from kafkalab.engine.controller.elections import UNCLEAN_ELECTION, Elections
from kafkalab.engine.controller.features import FeatureChanges, KRaftVersions, update_features_error
from kafkalab.engine.controller.isr import IsrChanges
from kafkalab.engine.controller.operation import Body, Operation, Plan, Respond
from kafkalab.engine.controller.periodic import PeriodicWork
from kafkalab.engine.controller.queue import MetadataWriter, OperationQueue
from kafkalab.engine.controller.quotas import QuotaChanges
from kafkalab.engine.controller.reassignments import Reassignments
from kafkalab.engine.controller.requested_elections import RequestedElections
from kafkalab.engine.controller.scram import ScramChanges
from kafkalab.engine.controller.sessions import BrokerSessions
from kafkalab.engine.controller.telemetry import ControllerTelemetry
from kafkalab.engine.controller.topics import TopicChanges
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol.metadata_records import ConfigRecord, MetadataRecord, ProducerIdsRecord
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from random import Random

log = logging.getLogger(__name__)

PRODUCER_ID_BLOCK_LENGTH: Final = 1_000
_PRODUCER_ID_MAX: Final = 2**63 - 1

ErrorBody = Callable[[Any, Errors, str | None], Body]


class ControllerRaft(MetadataWriter, KRaftVersions, Protocol):
    """Raft, as far as the controller needs it."""


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
        raft: ControllerRaft,
        image: MetadataImage,
        *,
        bootstrap: Sequence[MetadataRecord] | None = None,
        in_transaction: Callable[[], bool] = lambda: False,
    ) -> None:
        """``bootstrap`` is what an empty log gets first, this program's features if none is given.

        ``in_transaction`` tells whether a metadata transaction in the log has not ended.
        """
        self.node_id = node_id
        self.image = image
        self._config = config
        self._clock = clock
        self._raft = raft
        self._bootstrap = feature_records() if bootstrap is None else bootstrap
        self._in_transaction = in_transaction
        self._epoch = -1  # of the leadership under which this controller is active, -1 while it is not
        self._queue = OperationQueue(clock, raft, image, self._not_controller)

        session_timeout_ms = config.get_int("broker.session.timeout.ms")
        self.sessions = BrokerSessions(clock, timeout_ms=session_timeout_ms, on_expired=self._session_expired)
        self.elections = Elections(image, config, node_id)
        self._brokers = BrokerLifecycles(
            image,
            self.elections,
            self.sessions,
            cluster_id=cluster_id,
            session_timeout_ms=session_timeout_ms,
            kraft_version=lambda: raft.kraft_version,
        )
        self._isr = IsrChanges(image, config, self.elections)
        self._directories = DirectoryAssignments(image, self.elections)
        self._topics = TopicChanges(image, config, self.elections, rng)
        voter_ids = frozenset(int(voter.partition("@")[0]) for voter in config.get_list("controller.quorum.voters"))
        self._configs = ConfigChanges(image, config, self.elections, voter_ids | {node_id})
        self._reassignments = Reassignments(image, self.elections)
        self._requested = RequestedElections(image, self.elections)
        self._quotas = QuotaChanges(image)
        self._scram = ScramChanges(image)
        self._features = FeatureChanges(image, raft, config, node_id)
        self._periodic = PeriodicWork(
            config=config, clock=clock, image=image, elections=self.elections, queue=self._queue, submit=self._submit_internal
        )
        self._telemetry = ControllerTelemetry(node_id=node_id, clock=clock, sink=sink, config=config)

    @property
    def is_active(self) -> bool:
        """Whether this node is the active controller."""
        return self._epoch >= 0

    @property
    def queue_length(self) -> int:
        """Operations that wait or are under way."""
        return len(self._queue)

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
        self._submit_internal("activation", self._plan_activation)
        self._periodic.start()

    def resigned(self) -> None:
        """Raft leads no longer."""
        if not self.is_active:
            return
        for operation in self._stop():
            operation.refuse(self._not_controller())

    def close(self) -> None:
        """The node stops: no timer fires any more, nobody is answered."""
        self._stop()

    def _stop(self) -> list[Operation]:
        self._epoch = -1
        self._periodic.stop()
        self.sessions.clear()
        return self._queue.clear()

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

    def handle_elect_leaders(self, request: Any, respond: Respond) -> None:
        """Somebody wants elections."""
        self._submit("ElectLeaders", request, respond, self._requested.elect, responses.elect_leaders_error, timeout_ms=request.timeout)

    def handle_alter_partition_reassignments(self, request: Any, respond: Respond) -> None:
        """Somebody wants replicas elsewhere."""
        self._submit(
            "AlterPartitionReassignments",
            request,
            respond,
            self._reassignments.alter,
            responses.alter_partition_reassignments_error,
            timeout_ms=request.timeout,
        )

    def handle_list_partition_reassignments(self, request: Any, respond: Respond) -> None:
        """Somebody wants to know which replicas are on their way."""
        self._submit(
            "ListPartitionReassignments",
            request,
            respond,
            self._reassignments.list,
            responses.list_partition_reassignments_error,
            timeout_ms=request.timeout,
        )

    def handle_unregister_broker(self, request: Any, respond: Respond) -> None:
        """A broker will not come back."""
        self._submit("UnregisterBroker", request, respond, self._brokers.unregister, responses.plain_error)

    def handle_controller_registration(self, request: Any, respond: Respond) -> None:
        """A controller tells where it listens and what it supports."""
        self._submit("ControllerRegistration", request, respond, partial(registration_of_controller, self.image), responses.plain_error)

    def handle_alter_client_quotas(self, request: Any, respond: Respond) -> None:
        """Somebody wants other limits for clients."""
        self._submit("AlterClientQuotas", request, respond, self._quotas.alter, responses.alter_client_quotas_error)

    def handle_alter_user_scram_credentials(self, request: Any, respond: Respond) -> None:
        """Somebody wants other credentials."""
        self._submit("AlterUserScramCredentials", request, respond, self._scram.alter, responses.alter_user_scram_credentials_error)

    def handle_update_features(self, request: Any, respond: Respond, *, version: int) -> None:
        """Somebody wants other levels of features."""
        self._submit(
            "UpdateFeatures",
            request,
            respond,
            lambda request: self._features.update(request, version=version, epoch=self._epoch),
            update_features_error,
            timeout_ms=request.timeout,
        )

    def handle_incremental_alter_configs(self, request: Any, respond: Respond, *, is_forwarded: bool = False) -> None:
        """Somebody wants some settings otherwise."""
        self._submit(
            "IncrementalAlterConfigs",
            request,
            respond,
            lambda request: self._with_elections(self._configs.incremental_alter(request, is_forwarded=is_forwarded)),
            responses.alter_configs_error,
        )

    def handle_alter_configs(self, request: Any, respond: Respond, *, is_forwarded: bool = False) -> None:
        """Somebody says what the settings are, and that there are no others."""
        self._submit(
            "AlterConfigs",
            request,
            respond,
            lambda request: self._with_elections(self._configs.alter(request, is_forwarded=is_forwarded)),
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

    def _plan_activation(self) -> Plan:
        in_transaction = self._in_transaction()
        return Plan(records=activation_records(self.image, self._config, bootstrap=self._bootstrap, in_transaction=in_transaction))

    def _session_expired(self, broker_id: int, broker_epoch: int) -> None:
        self._submit_internal(f"fence broker {broker_id}", lambda: self._brokers.fence_silent(broker_id, broker_epoch))

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
        self._queue.add(Operation(name=name, plan=partial(plan, request), respond=respond, refuse=refuse, deadline_ms=deadline_ms))

    def _submit_internal(self, name: str, plan: Callable[[], Plan]) -> None:
        if self.is_active:
            self._queue.add(Operation(name=name, plan=plan, respond=lambda _body: None, refuse=partial(_note_refusal, name)))

    # --- commits -------------------------------------------------------------------------------

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The image has moved on, by an operation of ours or as a standby."""
        if not self.is_active:
            self._telemetry.watch(delta)
            return
        self._telemetry.tell(delta, image, self._queue.decided or Plan())
        for broker_id, old in delta.changed_brokers.items():
            now = image.brokers.get(broker_id)
            if now is None or (old is not None and old.broker_epoch != now.broker_epoch):
                self.sessions.remove(broker_id)
        self._queue.complete()


def _note_refusal(name: str, refusal: ApiError) -> None:
    log.debug("%s was not done: %s", name, refusal)
