"""What handlers reach: the cores of their node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.controller_channel import ControllerChannel
from kafkalab.engine.broker.producer_ids import ProducerIds
from kafkalab.engine.broker.topic_creation import TopicCreation
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.time import Clock
from kafkalab.engine.controller.controller import QuorumController
from kafkalab.engine.coordinator.group import GroupCoordinator
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.raft.node import RaftNode
from kafkalab.engine.replica.manager import ReplicaManager
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from random import Random

    from kafkalab.engine.broker.router import Router


@dataclass(slots=True, kw_only=True)
class BrokerServices:
    """The cores that handlers of client listeners work with."""

    node_id: int
    cluster_id: str
    config: BrokerConfig
    clock: Clock
    sink: TelemetrySink
    rng: Random
    image: MetadataImage
    replica_manager: ReplicaManager
    group_coordinator: GroupCoordinator
    controller_channel: ControllerChannel
    raft: RaftNode
    producer_ids: ProducerIds
    topic_creation: TopicCreation


@dataclass(slots=True, kw_only=True)
class ControllerServices:
    """The cores that handlers of controller listeners work with."""

    node_id: int
    cluster_id: str
    config: BrokerConfig
    clock: Clock
    sink: TelemetrySink
    image: MetadataImage
    controller: QuorumController
    raft: RaftNode
    router: Router | None = None
    """For requests that came in an envelope."""


Services = BrokerServices | ControllerServices
__all__ = ["BrokerServices", "ControllerServices", "RequestContext", "Services"]
