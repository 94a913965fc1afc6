"""What is inside a snapshot: a header, the records of a state, a footer.

The first batch is a control batch with the header and, once voters are a matter of the log, the
KRAFT_VERSION and KRAFT_VOTERS records; batches of metadata records follow; the last is a control
batch with the footer (KIP-630, KIP-853). Offsets count from 0 within the file, the epoch of all
batches is the snapshot's. A file without the footer is a part of a snapshot.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.raft.snapshot_store import SnapshotFile, SnapshotId, SnapshotStore
from kafkalab.engine.record.batch import HEADER_BYTES, LENGTH_FIELD_END, Record, build_batch, read_header, records_of, validate
from kafkalab.engine.record.control import ControlType, decode_key, encode_key

RECORDS_PER_BATCH_MAX: Final = 256
"""One batch is written between two looks at what else there is to do. Kafka puts up to 1,024 into one."""
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""No batch of the metadata log is larger, in Kafka either."""
READ_BYTES: Final = 1_048_576
_HEADER: Final = struct.Struct(">hqb")
_HEADER_BYTES_MIN: Final = 10
"""Its version and its time; what follows them is optional."""
_FOOTER: Final = b"\x00\x00\x00"

ControlRecord = tuple[ControlType, bytes]


class CorruptSnapshot(StorageError):
    """A snapshot's file is not what it must be. The sentence names the file and what is wrong."""


class SnapshotBatch(NamedTuple):
    """A batch of a snapshot that was read."""

    records: list[Record]
    is_control: bool
    epoch: int


class _Batches:
    """Makes a snapshot's batches; offsets count on from one to the next."""

    def __init__(self, *, epoch: int, wall_ms: int) -> None:
        self._epoch = epoch
        self._wall_ms = wall_ms
        self._next_offset = 0

    def header(self, last_contained_ms: int, controls: Sequence[ControlRecord]) -> bytes:
        return self._control([(ControlType.SNAPSHOT_HEADER, _HEADER.pack(0, last_contained_ms, 0)), *controls])

    def footer(self) -> bytes:
        return self._control([(ControlType.SNAPSHOT_FOOTER, _FOOTER)])

    def _control(self, controls: Sequence[ControlRecord]) -> bytes:
        return self._batch([(encode_key(kind), value) for kind, value in controls], is_control=True)

    def of(self, values: Sequence[bytes]) -> Iterator[bytes]:
        """Batches that are not too large."""
        batch: list[tuple[bytes | None, bytes]] = []
        size = 0
        for value in values:
            if batch and (len(batch) == RECORDS_PER_BATCH_MAX or size + len(value) > BATCH_BYTES_MAX // 2):
                yield self._batch(batch, is_control=False)
                batch, size = [], 0
            batch.append((None, value))
            size += len(value)
        if batch:
            yield self._batch(batch, is_control=False)

    def _batch(self, contents: Sequence[tuple[bytes | None, bytes]], *, is_control: bool) -> bytes:
        base_offset = self._next_offset
        self._next_offset += len(contents)
        records = [Record(base_offset + index, self._wall_ms, key, value) for index, (key, value) in enumerate(contents)]
        return build_batch(records, base_offset=base_offset, leader_epoch=self._epoch, control=is_control)


class SnapshotWriter:
    """Puts records into a snapshot's file, batch by batch."""

    def __init__(
        self,
        file: SnapshotFile,
        *,
        last_contained_ms: int,
        wall_ms: int,
        controls: Sequence[ControlRecord] = (),
    ) -> None:
        """The header goes first. ``last_contained_ms`` is when the last record that is contained was appended to the log.

        :raises OSError: as the disk gives it.
        """
        self.file: Final = file
        self._batches = _Batches(epoch=file.snapshot_id.epoch, wall_ms=wall_ms)
        file.append(self._batches.header(last_contained_ms, controls))

    @property
    def snapshot_id(self) -> SnapshotId:
        """What it is a snapshot of."""
        return self.file.snapshot_id

    def append(self, values: Sequence[bytes]) -> None:
        """Write metadata records, in batches that are not too large.

        :raises OSError: as the disk gives it.
        """
        for batch in self._batches.of(values):
            self.file.append(batch)

    def freeze(self, done: Callable[[OSError | None], None]) -> None:
        """All is written: add the footer and bring it to the disk; see :meth:`SnapshotFile.freeze`.

        :raises OSError: as the disk gives it.
        """
        self.file.append(self._batches.footer())
        self.file.freeze(done)

    def discard(self) -> None:
        """It will not be completed."""
        self.file.discard()


def snapshot_bytes(
    values: Sequence[bytes], *, wall_ms: int, epoch: int = 0, last_contained_ms: int = 0, controls: Sequence[ControlRecord] = ()
) -> bytes:
    """A small snapshot at once: what formatting a directory leaves there."""
    batches = _Batches(epoch=epoch, wall_ms=wall_ms)
    return b"".join([batches.header(last_contained_ms, controls), *batches.of(values), batches.footer()])


class SnapshotContent:
    """What a file in a snapshot's form holds. Everything that is read is checked."""

    def __init__(self, path: Path, read: Callable[[int, int], bytes]) -> None:
        """``read`` gives up to so many bytes from a position, fewer at the end, and may raise OSError."""
        self._path = path
        self._read = read

    def last_contained_ms(self) -> int:
        """When the last record that is contained was appended to the log, by its leader's wall clock.

        :raises CorruptSnapshot: when the header cannot be read.
        """
        for batch in self.batches():
            value = batch.records[0].value or b""
            return int.from_bytes(value[_HEADER_BYTES_MIN - 8 : _HEADER_BYTES_MIN], "big", signed=True)
        raise self._corrupt("it is empty")

    def controls(self) -> list[ControlRecord]:
        """What follows the header in its batch: the kraft.version and the voters, where the quorum has such.

        :raises CorruptSnapshot: when the header cannot be read.
        """
        for batch in self.batches():
            return [
                (kind, record.value or b"")
                for record in batch.records[1:]
                if (kind := decode_key(record.key)) is not None and kind is not ControlType.SNAPSHOT_FOOTER
            ]
        raise self._corrupt("it is empty")

    def values(self) -> Iterator[list[bytes]]:
        """The metadata records, batch by batch.

        :raises CorruptSnapshot: at the first thing that is wrong.
        """
        for batch in self.batches():
            if not batch.is_control:
                yield [record.value or b"" for record in batch.records]

    def verify(self) -> None:
        """Read all of it.

        :raises CorruptSnapshot: at the first thing that is wrong.
        """
        for _ in self.batches():
            pass

    def batches(self) -> Iterator[SnapshotBatch]:
        """Every batch, from the header's to the footer's.

        :raises CorruptSnapshot: at the first thing that is wrong.
        """
        is_first, is_whole = True, False
        for data, position in self._raw_batches():
            if is_whole:
                raise self._corrupt(f"something follows the footer at byte {position}")
            header = read_header(data)
            try:
                validate(data, 0, header)
                records = list(records_of(data, 0, header))
                kinds = [decode_key(record.key) for record in records] if header.is_control else []
            except ApiError as error:
                raise self._corrupt(f"the batch at byte {position} is corrupt: {error.message}") from error
            if is_first and (not kinds or kinds[0] is not ControlType.SNAPSHOT_HEADER or len(records[0].value or b"") < _HEADER_BYTES_MIN):
                raise self._corrupt("it does not begin with a header")
            is_first = False
            is_whole = bool(kinds) and kinds[-1] is ControlType.SNAPSHOT_FOOTER
            yield SnapshotBatch(records, header.is_control, header.partition_leader_epoch)
        if not is_whole:
            raise self._corrupt("it has no footer: its end is missing")

    def _raw_batches(self) -> Iterator[tuple[bytes, int]]:
        position = 0
        buffer = b""
        while True:
            # What is in the buffer begins with a batch, and ends where the next read goes on.
            wanted = HEADER_BYTES
            if len(buffer) >= HEADER_BYTES:
                length = read_header(buffer).batch_length
                if not HEADER_BYTES - LENGTH_FIELD_END <= length <= 2 * BATCH_BYTES_MAX:
                    raise self._corrupt(f"the batch at byte {position} claims a length of {length}")
                wanted = LENGTH_FIELD_END + length
                if len(buffer) >= wanted:
                    yield buffer[:wanted], position
                    position += wanted
                    buffer = buffer[wanted:]
                    continue
            try:
                more = self._read(position + len(buffer), max(READ_BYTES, wanted - len(buffer)))
            except OSError as error:
                raise self._corrupt(f"it cannot be read: {error.strerror or error}") from error
            if not more:
                if buffer:
                    raise self._corrupt(f"the batch at byte {position} is cut off")
                return
            buffer += more

    def _corrupt(self, what: str) -> CorruptSnapshot:
        return CorruptSnapshot(f"{self._path}: {what}")


class SnapshotReader(SnapshotContent):
    """A snapshot on the disk, for those who take it up."""

    def __init__(self, store: SnapshotStore, snapshot_id: SnapshotId) -> None:
        super().__init__(store.path(snapshot_id), partial(store.read, snapshot_id))
        self.snapshot_id: Final = snapshot_id

    @property
    def end_offset(self) -> int:
        """Everything before it is contained."""
        return self.snapshot_id.end_offset

    @property
    def epoch(self) -> int:
        """The epoch of the last record that is contained."""
        return self.snapshot_id.epoch
