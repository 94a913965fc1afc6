"""A cluster of Lab as a stage: real sockets, real files, real time."""

from __future__ import annotations

import itertools
import socket
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kafkalab.engine.cluster.host import Isolation
from kafkalab.engine.cluster.lab import Lab
from kafkalab.engine.cluster.snapshot import NodeSnapshot
from kafkalab.engine.common.ids import uuid_from_text
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import Event
from kafkalab.engine.telemetry.levels import (
    BrokerKey,
    BrokerLevel,
    PartitionKey,
    PartitionLevel,
    ReplicaKey,
    ReplicaLevel,
    TopicKey,
    TopicLevel,
)
from kafkalab.scenarios.stage import (
    CLIENT_ID,
    QUICK,
    REQUEST_WITHIN_S,
    E,
    NodeFiles,
    PartitionState,
    Pending,
    ReplicaState,
    Setup,
    Stage,
    Step,
)

LOOK_S: Final = 0.01
EVENTS_MAX: Final = 100_000
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
ALIVE: Final = ("starting", "running", "paused", "stopping")


class LiveStage(Stage):
    """See the module.

    :param keep: the nodes' folders stay when the stage is closed.
    """

    name = "live"

    def __init__(
        self, setup: Setup, *, tell: Callable[[Step], None] | None = None, keep: bool = False, isolation: Isolation = "thread"
    ) -> None:
        self._kept = tempfile.mkdtemp(prefix="kafkalab-scenario-") if keep else None
        self.lab = Lab(
            brokers=setup.brokers,
            controllers=setup.controllers,
            data_dir=self._kept,
            isolation=isolation,
            config={**QUICK, **setup.config},
            log_dirs=setup.log_dirs,
        )
        super().__init__(self.lab, tell)
        self._reader = self.lab.hub.open_reader(EVENTS_MAX)
        self._events: list[Event] = []
        self._began_s = time.monotonic()
        self._numbers = itertools.count(1)
        self._asking: dict[threading.Thread, socket.socket | None] = {}
        self._asking_lock = threading.Lock()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    def wall_ms(self) -> int:
        return int(time.time() * 1000)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def comes_to_be(self, condition: Callable[[], bool], within_s: float) -> bool:
        deadline_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() >= deadline_s:
                return condition()
            time.sleep(LOOK_S)
        return True

    # --- the cluster -----------------------------------------------------------------------------------

    def start(self) -> None:
        self.lab.start()
        self._began_s = time.monotonic()

    def close(self) -> None:
        with self._asking_lock:
            asking = dict(self._asking)
        for one in asking.values():
            if one is not None:
                _hang_up(one)
        self.lab.close()
        self._reader.close()
        for thread in asking:
            thread.join(REQUEST_WITHIN_S)

    def is_alive(self, node_id: int) -> bool:
        return self._node(node_id).state in ALIVE

    def files(self, node_id: int) -> NodeFiles:
        root = self.lab.data_dir / f"{'broker' if node_id in self.broker_ids else 'controller'}-{node_id}"
        return _LiveFiles(root / "dir-1" if (root / "dir-1").is_dir() else root)

    def keep(self) -> str:
        assert self._kept is not None, "what is to be kept is said at the start"
        return self._kept

    # --- what is known ---------------------------------------------------------------------------------

    def _node(self, node_id: int) -> NodeSnapshot:
        return self.lab.describe().node(node_id)

    def active_controller(self) -> int | None:
        controller = self.lab.describe().controller
        return None if controller < 0 else controller

    def partition(self, topic: str, index: int) -> PartitionState | None:
        level = self.lab.hub.levels().get(PartitionKey(topic, index))
        if not isinstance(level, PartitionLevel):
            return None
        return PartitionState(
            leader=level.leader if level.leader >= 0 else None,
            leader_epoch=level.leader_epoch,
            partition_epoch=level.partition_epoch,
            replicas=level.replicas,
            isr=level.isr,
            elr=level.elr,
            last_known_elr=level.last_known_elr,
        )

    def replica(self, node_id: int, topic: str, index: int) -> ReplicaState | None:
        level = self.lab.hub.levels().get(ReplicaKey(node_id, topic, index))
        if not isinstance(level, ReplicaLevel):
            return None
        return ReplicaState(
            is_leader=level.is_leader,
            leader_epoch=level.leader_epoch,
            log_start_offset=level.log_start_offset,
            log_end_offset=level.log_end_offset,
            high_watermark=level.high_watermark,
        )

    def topic_id(self, topic: str) -> uuid.UUID | None:
        level = self.lab.hub.levels().get(TopicKey(topic))
        return uuid_from_text(level.topic_id) if isinstance(level, TopicLevel) else None

    def _broker(self, node_id: int) -> BrokerLevel | None:
        level = self.lab.hub.levels().get(BrokerKey(node_id))
        return level if isinstance(level, BrokerLevel) else None

    def broker_epoch(self, node_id: int) -> int:
        level = self._broker(node_id)
        return -1 if level is None else level.broker_epoch

    def is_fenced(self, node_id: int) -> bool:
        level = self._broker(node_id)
        return level is None or level.fenced

    def events(self, kind: type[E]) -> Sequence[E]:
        self._events += self._reader.drain(EVENTS_MAX)[0]
        return [event for event in self._events if isinstance(event, kind)]

    # --- requests --------------------------------------------------------------------------------------

    def send(self, node_id: int, api_key: ApiKey, version: int, body: Mapping[str, Any], within_s: float = REQUEST_WITHIN_S) -> Pending:
        pending = Pending()
        host, _, port = self._node(node_id).address.rpartition(":")
        number = next(self._numbers)

        def ask() -> None:
            response = None
            try:
                with socket.create_connection((host, int(port)), timeout=within_s) as connection:
                    with self._asking_lock:
                        self._asking[thread] = connection
                    response = _exchange(connection, api_key, version, number, body)
            except (OSError, codec.DecodeError):
                # A broker that is gone, or cut off, or too slow: what became of the request is not known.
                pass
            finally:
                with self._asking_lock:
                    self._asking.pop(thread, None)
                pending.finish(response)

        thread = threading.Thread(target=ask, name=f"kafkalab-scenario-{number}", daemon=True)
        with self._asking_lock:
            self._asking[thread] = None
        thread.start()
        return pending


def _exchange(connection: socket.socket, api_key: ApiKey, version: int, number: int, body: Mapping[str, Any]) -> Any:
    connection.sendall(b"".join(codec.encode_request(api_key, version, number, CLIENT_ID, body)))
    (size,) = struct.unpack(">i", _read(connection, 4))
    if not 0 < size <= FRAME_BYTES_MAX:
        raise codec.DecodeError(f"a response said to have {size} bytes")
    frame = _read(connection, size)
    _, body_at = codec.read_response_header(api_key, version, frame)
    return codec.decode_response(api_key, version, frame, body_at)


def _read(connection: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        piece = connection.recv(min(size - len(pieces), 1 << 20))
        if not piece:
            raise ConnectionResetError("the node closed the connection")
        pieces += piece
    return bytes(pieces)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It was over already.
        return


class _LiveFiles(NodeFiles):
    """Of a folder on this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str) -> list[str]:
        path = self._root / folder
        return sorted(f"{folder}/{one.name}" for one in path.iterdir() if one.is_file()) if path.is_dir() else []

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        (self._root / name).write_bytes(content)

    def remove(self, name: str) -> None:
        (self._root / name).unlink()
