"""What a script is played on: a cluster with the verbs of Lab, requests in any version to any node, and a notebook.

A script is the same on all stages. Times are the stage's own: virtual in the simulator, real on a live cluster.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import Event

WITHIN_S: Final = 30.0
REQUEST_WITHIN_S: Final = 10.0
RETRY_S: Final = 0.05
CLIENT_ID: Final = "scenario"
QUICK: Final[Mapping[str, object]] = {
    "broker.session.timeout.ms": 2_000,
    "broker.heartbeat.interval.ms": 250,
    "replica.lag.time.max.ms": 1_500,
    "offsets.topic.num.partitions": 1,
}
"""What all scripts have: short sessions, so that they end within a person's patience."""

E = TypeVar("E", bound=Event)


class Violated(AssertionError):
    """A promise did not hold, or what a script needs did not come to be."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The cluster that a script wants."""

    brokers: int = 3
    controllers: int = 3
    config: Mapping[str, object] = field(default_factory=dict)
    """Broker settings by Kafka's names, over those that all scripts have."""
    log_dirs: int = 1
    may_lose: bool = False
    """Committed records are lost on purpose: the simulator's own watch does not hold that against anybody."""


@dataclass(frozen=True, slots=True)
class Step:
    """A line of a script's story."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition as the newest committed metadata has it."""

    leader: int | None
    leader_epoch: int
    partition_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    elr: tuple[int, ...]
    last_known_elr: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A replica as its broker tells of it."""

    is_leader: bool
    leader_epoch: int
    log_start_offset: int
    log_end_offset: int
    high_watermark: int


class Pending:
    """A request that was sent. ``response`` is None where no answer came: then nothing is known of it."""

    def __init__(self) -> None:
        self.is_done = False
        self.response: Any | None = None

    def finish(self, response: Any | None) -> None:
        """The answer is here, or none will come."""
        if not self.is_done:
            self.response = response
            self.is_done = True


class NodeFiles(ABC):
    """A node's first log directory, for those who tamper with it while the node is dead. Names are relative, with ``/``."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The files of a folder, in order, with the folder's name; none where it is not there."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """All of a file."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Replace a file."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Take a file away."""


class Cluster(Protocol):
    """What ``kafkalab.Lab`` and the simulated world both do, each in its own way."""

    @property
    def broker_ids(self) -> tuple[int, ...]: ...

    @property
    def controller_ids(self) -> tuple[int, ...]: ...

    def kill(self, node_id: int) -> None: ...

    def power_loss(self, node_id: int, torn_tail: int = 0) -> None: ...

    def stop(self, node_id: int) -> None: ...

    def restart(self, node_id: int) -> None: ...

    def pause(self, node_id: int) -> None: ...

    def resume(self, node_id: int) -> None: ...

    def isolate(self, a: int, b: int | None = None) -> None: ...

    def cut(self, a: int, b: int) -> None: ...

    def delay(self, a: int, b: int, ms: float, *, one_way: bool = False) -> None: ...

    def heal(self) -> None: ...

    def fill_disk(self, node_id: int, directory: int | None = None, *, free_bytes: int = 0) -> None: ...

    def break_disk(self, node_id: int, directory: int | None = None, *, kind: str = "broken") -> None: ...

    def heal_disk(self, node_id: int) -> None: ...


class Stage(ABC):
    """See the module. Nodes are brokers from 1 on and controllers from 101 on."""

    name: str

    def __init__(self, cluster: Cluster, tell: Callable[[Step], None] | None = None) -> None:
        self._cluster = cluster
        self.steps: list[Step] = []
        self._tell = tell

    # --- the notebook ----------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """Say what happens now."""
        step = Step(self.now_s, text)
        self.steps.append(step)
        if self._tell is not None:
            self._tell(step)

    def check(self, holds: object, promise: str) -> None:
        """
        :raises Violated: with the promise, where it does not hold.
        """
        if not holds:
            raise Violated(promise)

    # --- time ------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def now_s(self) -> float:
        """Since the cluster was ready, in the stage's time."""

    @abstractmethod
    def wall_ms(self) -> int:
        """The time of day, for records' timestamps."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    @abstractmethod
    def comes_to_be(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Let time pass until something holds; False where it did not in time."""

    def wait(self, condition: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> float:
        """Let time pass until something holds; how long it took.

        :raises Violated: when it does not in time.
        """
        began_s = self.now_s
        if not self.comes_to_be(condition, within_s):
            raise Violated(f"not within {within_s:g} s: {what}")
        return self.now_s - began_s

    # --- the cluster -----------------------------------------------------------------------------------

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The nodes that serve clients."""
        return self._cluster.broker_ids

    @property
    def controller_ids(self) -> tuple[int, ...]:
        """The nodes that vote."""
        return self._cluster.controller_ids

    @abstractmethod
    def start(self) -> None:
        """Start all nodes, and wait until they are ready."""

    @abstractmethod
    def close(self) -> None:
        """Nothing is left that runs."""

    def kill(self, node_id: int) -> None:
        """As SIGKILL does."""
        self._cluster.kill(node_id)

    def power_loss(self, node_id: int, torn_tail: int = 0) -> None:
        """A kill that also takes what was not synced, but for so many bytes at the end of each file."""
        self._cluster.power_loss(node_id, torn_tail)

    def stop(self, node_id: int) -> None:
        """Kafka's controlled shutdown; returns when the node has stopped."""
        self._cluster.stop(node_id)

    def restart(self, node_id: int) -> None:
        """Start a dead node on its files."""
        self._cluster.restart(node_id)

    def pause(self, node_id: int) -> None:
        """Let a node do nothing, with its sockets open."""
        self._cluster.pause(node_id)

    def resume(self, node_id: int) -> None:
        """Let it go on."""
        self._cluster.resume(node_id)

    @abstractmethod
    def is_alive(self, node_id: int) -> bool:
        """Whether a node runs; a paused one does."""

    def isolate(self, a: int, b: int | None = None) -> None:
        """Cut the link between two nodes, or that of one to all other nodes; clients still reach it."""
        self._cluster.isolate(a, b)

    def cut(self, a: int, b: int) -> None:
        """What ``a`` sends does not reach ``b``."""
        self._cluster.cut(a, b)

    def delay(self, a: int, b: int, ms: float) -> None:
        """What ``a`` sends arrives at ``b`` so much later."""
        self._cluster.delay(a, b, ms, one_way=True)

    def heal(self) -> None:
        """All links are right again."""
        self._cluster.heal()

    def fill_disk(self, node_id: int, directory: int | None = None, *, free_bytes: int = 0) -> None:
        """A log directory (from 1 on), or all, are full after so many more bytes."""
        self._cluster.fill_disk(node_id, directory, free_bytes=free_bytes)

    def break_disk(self, node_id: int, directory: int | None = None, *, kind: str = "broken") -> None:
        """``broken``, ``read_only`` or ``vanished``."""
        self._cluster.break_disk(node_id, directory, kind=kind)

    def heal_disk(self, node_id: int) -> None:
        """The disks are right again."""
        self._cluster.heal_disk(node_id)

    @abstractmethod
    def files(self, node_id: int) -> NodeFiles:
        """A node's first log directory."""

    @abstractmethod
    def keep(self) -> str:
        """Put the nodes' folders where they stay, and say where."""

    # --- what is known ---------------------------------------------------------------------------------

    @abstractmethod
    def active_controller(self) -> int | None:
        """The controller that acts, of several the one of the newest epoch."""

    @abstractmethod
    def partition(self, topic: str, index: int) -> PartitionState | None:
        """By the newest committed metadata."""

    @abstractmethod
    def replica(self, node_id: int, topic: str, index: int) -> ReplicaState | None:
        """By the broker itself; None where it runs not, or has none."""

    @abstractmethod
    def topic_id(self, topic: str) -> uuid.UUID | None:
        """By the newest committed metadata."""

    @abstractmethod
    def broker_epoch(self, node_id: int) -> int:
        """Of a broker's newest registration; -1 without one."""

    @abstractmethod
    def is_fenced(self, node_id: int) -> bool:
        """Whether the controller has taken a broker out of service."""

    @abstractmethod
    def events(self, kind: type[E]) -> Sequence[E]:
        """What the nodes have told of, of one kind, from the start on."""

    def is_settled(self) -> bool:
        """Whether every broker runs and is in service."""
        return all(self.is_alive(node_id) and not self.is_fenced(node_id) for node_id in self.broker_ids)

    # --- requests --------------------------------------------------------------------------------------

    @abstractmethod
    def send(self, node_id: int, api_key: ApiKey, version: int, body: Mapping[str, Any], within_s: float = REQUEST_WITHIN_S) -> Pending:
        """Send one request on a connection of its own, and do not wait."""

    def ask(self, node_id: int, api_key: ApiKey, version: int, body: Mapping[str, Any], within_s: float = REQUEST_WITHIN_S) -> Any | None:
        """Send one request, and wait for its answer; None where none comes."""
        pending = self.send(node_id, api_key, version, body, within_s)
        self.comes_to_be(lambda: pending.is_done, within_s + 1.0)
        return pending.response

    def ask_until(self, ask: Callable[[], Any | None], what: str, within_s: float = WITHIN_S) -> Any:
        """Ask again and again until there is something to return.

        :raises Violated: when there is not in time.
        """
        deadline_s = self.now_s + within_s
        while True:
            answer = ask()
            if answer is not None:
                return answer
            if self.now_s >= deadline_s:
                raise Violated(f"not within {within_s:g} s: {what}")
            self.sleep(RETRY_S)

    def create_topic(self, name: str, replicas: Sequence[Sequence[int]] = ((1, 2, 3),), **config: object) -> None:
        """Create a topic whose partitions have these replicas, and wait until the first of each leads it.

        :param config: settings by Kafka's names, with ``_`` for dots.
        """
        body = {
            "topics": [
                {
                    "name": name,
                    "num_partitions": -1,
                    "replication_factor": -1,
                    "assignments": [{"partition_index": index, "broker_ids": list(ids)} for index, ids in enumerate(replicas)],
                    "configs": [{"name": key.replace("_", "."), "value": setting(value)} for key, value in config.items()],
                }
            ],
            "timeout": 10_000,
            "validate_only": False,
        }
        brokers = [node_id for node_id in self.broker_ids if self.is_alive(node_id)]

        def attempt() -> bool | None:
            response = self.ask(brokers[0], ApiKey.CREATE_TOPICS, 7, body)
            error = None if response is None else Errors(response.topics[0].error_code)
            if error in (None, Errors.NOT_CONTROLLER, Errors.REQUEST_TIMED_OUT):
                brokers.append(brokers.pop(0))
                return None
            if error not in (Errors.NONE, Errors.TOPIC_ALREADY_EXISTS):
                raise Violated(f"topic {name} was refused: {error.name}")
            return True

        self.ask_until(attempt, f"topic {name} is created")

        def is_led() -> bool:
            for index, ids in enumerate(replicas):
                state = self.partition(name, index)
                alive = [node_id for node_id in ids if self.is_alive(node_id)]
                if state is None or state.leader is None or set(state.isr) < set(alive):
                    return False
                if any((replica := self.replica(node_id, name, index)) is None or replica.log_end_offset for node_id in alive):
                    return False
                leader = self.replica(state.leader, name, index)
                if leader is None or not leader.is_leader:
                    return False
            return True

        self.wait(is_led, f"all partitions of {name} are led")


def setting(value: object) -> str:
    """A setting as Kafka writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
