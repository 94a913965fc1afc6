"""A follower's side of fetching a snapshot: chunk by chunk into a file, checked bit by bit, and then in the log's place.

One request is under way at a time. A chunk that does not come is asked for again a few times; when
the leader no longer has the snapshot, or gives something else than what was asked for, all of it is
dropped, and the fetch of the log says anew what there is.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.network import Network
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.snapshot_records import CorruptSnapshot, SnapshotBatch, SnapshotContent
from kafkalab.engine.raft.snapshot_store import SnapshotFile, SnapshotId
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.voters import Address

log = logging.getLogger(__name__)

ATTEMPTS_PER_CHUNK: Final = 5
CHECKED_PER_TURN_MAX: Final = 1_024
"""Records; the last batch may go beyond it. To check one costs a tenth of taking it up."""


class SnapshotReceiver(Protocol):
    """The member on whose behalf is fetched."""

    @property
    def epoch(self) -> int: ...

    def observe(self, leader_id: int, epoch: int, cause: str, address: Address | None = None) -> None:
        """A response told who leads in which epoch, and where."""

    def handle_snapshot_chunk(self) -> None:
        """The leader answered, or was not asked because what it sent is being checked: it is not silent."""

    def handle_snapshot_fetched(self, snapshot_id: SnapshotId) -> None:
        """The snapshot is on the disk and the log begins at its end."""

    def handle_disk_failed(self, why: str) -> None:
        """The disk refused something that cannot be done without."""


class SnapshotFetcher:
    """Fetches one snapshot after another, as told. Late answers change nothing."""

    def __init__(
        self,
        owner: SnapshotReceiver,
        *,
        node_id: int,
        directory_id: uuid.UUID | None,
        cluster_id: str | None,
        log: SnapshottedLog,
        network: Network,
        clock: Clock,
        config: RaftConfig,
        on_end: Callable[[bool], None],
    ) -> None:
        """``on_end`` is told whether the log of the leader can be fetched on, or that nothing came of it."""
        self._owner = owner
        self._node_id = node_id
        self._directory_id = directory_id
        self._cluster_id = cluster_id
        self._log = log
        self._network = network
        self._clock = clock
        self._config = config
        self._on_end = on_end
        self._leader_id = -1
        self._file: SnapshotFile | None = None
        self._attempts = 0
        # Until the next request, or the next turn at checking.
        self._timer: Timer | None = None

    def start(self, leader_id: int, snapshot_id: SnapshotId) -> bool:
        """Fetch from the leader what it has in place of its log; False when that is of no use here.

        :raises ApiError: KAFKA_STORAGE_ERROR when the disk refuses.
        """
        assert self._file is None, "one snapshot is fetched at a time"
        try:
            self._file = self._log.receive_snapshot(snapshot_id)
        except OSError as error:
            self._disk_failed(snapshot_id, error)
        if self._file is None:
            return False
        log.info("Node %d fetches snapshot %s from controller %d", self._node_id, snapshot_id, leader_id)
        self._leader_id = leader_id
        self._attempts = 0
        self._send()
        return True

    def stop(self) -> None:
        """Fetch no more; what came is of no use, for another leader's snapshot has other bytes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _send(self) -> None:
        file = self._file
        assert file is not None, "there is a snapshot to be fetched"
        snapshot_id = file.snapshot_id
        body: messages.Body = {
            "cluster_id": self._cluster_id,
            "replica_id": self._node_id,
            "max_bytes": self._config.fetch_snapshot_max_bytes,
            "topics": [
                {
                    "name": METADATA_TOPIC,
                    "partitions": [
                        {
                            "partition": 0,
                            "current_leader_epoch": self._owner.epoch,
                            "snapshot_id": {"end_offset": snapshot_id.end_offset, "epoch": snapshot_id.epoch},
                            "position": file.size_bytes,
                            "replica_directory_id": self._directory_id,
                        }
                    ],
                }
            ],
        }
        self._network.send(
            self._leader_id,
            ApiKey.FETCH_SNAPSHOT,
            body,
            lambda response: self._handle_response(response, file),
            timeout_ms=self._config.request_timeout_ms,
        )

    def _try_again(self) -> None:
        self._attempts += 1
        if self._attempts >= ATTEMPTS_PER_CHUNK:
            self._end("the leader does not answer")
            return

        def send() -> None:
            self._timer = None
            self._send()

        self._timer = self._clock.call_later(self._config.retry_backoff_ms * 2.0**self._attempts, send)

    def _end(self, why: str) -> None:
        assert self._file is not None, "there is a snapshot to be fetched"
        log.info("Node %d did not get snapshot %s: %s", self._node_id, self._file.snapshot_id, why)
        self.stop()
        self._on_end(False)

    def _disk_failed(self, snapshot_id: SnapshotId, error: OSError | ApiError) -> NoReturn:
        snapshots = self._log.snapshots
        assert snapshots is not None, "there is a place for snapshots"
        reason = error.message if isinstance(error, ApiError) else error.strerror or error
        why = f"{snapshots.path(snapshot_id)} cannot take the metadata log's place: {reason}"
        self._owner.handle_disk_failed(why)
        raise ApiError(Errors.KAFKA_STORAGE_ERROR, why) from error

    def _handle_response(self, response: Any | None, file: SnapshotFile) -> None:
        if file is not self._file:
            return
        if response is None or response.error_code != Errors.NONE:
            self._try_again()
            return
        if len(response.topics) != 1 or len(response.topics[0].partitions) != 1:
            self._end("the leader's answer is not to the question")
            return
        partition = response.topics[0].partitions[0]
        leader = partition.current_leader
        address = messages.told_address(response, leader.leader_id)
        self._owner.observe(leader.leader_id, leader.leader_epoch, "a fetch of a snapshot was answered so", address)
        if file is not self._file:
            # Another leader or epoch: the fetch of the log has begun anew.
            return
        snapshot_id = SnapshotId(epoch=partition.snapshot_id.epoch, end_offset=partition.snapshot_id.end_offset)
        data = partition.unaligned_records or b""
        if partition.error_code != Errors.NONE:
            self._end(f"the leader answers {Errors.name_of(partition.error_code)}")
        elif snapshot_id != file.snapshot_id or partition.position != file.size_bytes:
            self._end(f"the leader sends {snapshot_id} from byte {partition.position}, byte {file.size_bytes} was asked for")
        elif not data or file.size_bytes + len(data) > partition.size:
            self._end(f"the leader sends {len(data)} bytes of {partition.size - file.size_bytes}")
        else:
            self._take(file, data, partition.size)

    def _take(self, file: SnapshotFile, data: bytes, size: int) -> None:
        self._attempts = 0
        self._owner.handle_snapshot_chunk()
        try:
            file.append(data)
            if file.size_bytes < size:
                self._send()
            else:
                self._check(file, SnapshotContent(file.part, file.read).batches())
        except OSError as error:
            self._disk_failed(file.snapshot_id, error)

    def _check(self, file: SnapshotFile, batches: Iterator[SnapshotBatch]) -> None:
        """Read on in it, until it is whole or is not; it gets its name only then."""
        self._timer = None
        self._owner.handle_snapshot_chunk()
        checked = 0
        try:
            for batch in batches:
                checked += len(batch.records)
                if checked >= CHECKED_PER_TURN_MAX:
                    self._timer = self._clock.call_later(0.0, lambda: self._check(file, batches))
                    return
        except CorruptSnapshot as corrupt:
            log.error("What controller %d sent is corrupt, and now called %s: %s", self._leader_id, self._set_aside(file).name, corrupt)
            self._end("it is corrupt")
            return
        file.freeze(lambda error: self._frozen(file, error))

    def _set_aside(self, file: SnapshotFile) -> Path:
        try:
            return file.set_aside()
        except OSError as error:
            self._disk_failed(file.snapshot_id, error)

    def _frozen(self, file: SnapshotFile, error: OSError | None) -> None:
        if file is not self._file:
            # The fetch was given up meanwhile.
            return
        if error is not None:
            self._disk_failed(file.snapshot_id, error)
        self._file = None
        try:
            is_newer = self._log.truncate_to_latest_snapshot()
        except (OSError, ApiError) as failure:
            self._disk_failed(file.snapshot_id, failure)
        if is_newer:
            log.info("Node %d got snapshot %s and begins its log there", self._node_id, file.snapshot_id)
            self._owner.handle_snapshot_fetched(file.snapshot_id)
        self._on_end(is_newer)
