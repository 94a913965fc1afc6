"""Loading a log's directory, and putting it in order after a kill.

After a clean stop the files are as they were left. After any other end everything from the recovery
point on is validated again: the first batch that is torn or corrupt ends the log, indexes are made
again, and what they and the snapshots may say beyond that end is removed.

Pages of several files reach the disk in any order, so a power cut may take the end of one segment, at a batch's
end even, and leave the next: then the log ends there too, or it would be served with a hole in it. (Apache Kafka
ends it only where bytes had to be cut.) Compaction leaves such gaps lawfully, where it has been.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Final

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.log.checkpoint import LEADER_EPOCH_FILE, read_leader_epochs
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.epochs import LeaderEpochs
from kafkalab.engine.log.producer_state import CorruptSnapshot, ProducerState
from kafkalab.engine.log.segment import (
    CLEANED_SUFFIX,
    DELETED_SUFFIX,
    LOG_SUFFIX,
    RELATIVE_OFFSET_MAX,
    SEGMENT_SUFFIXES,
    SNAPSHOT_SUFFIX,
    SWAP_SUFFIX,
    Segment,
    segment_file_name,
)
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.log.swap import OFFSET_DIGITS, offset_of, settle_files
from kafkalab.engine.record.batch import NO_PRODUCER_ID, validate

NOT_RECOVERED: Final = 2**63
_COMPACTION_SUFFIXES: Final = (CLEANED_SUFFIX, SWAP_SUFFIX, DELETED_SUFFIX)


class LoadedLog:
    """What was found, in order: segments (one at least), the end of the log, epochs and producers."""

    __slots__ = ("cut_bytes", "end_offset", "epochs", "producer_state", "recovered", "recovered_from", "segments", "snapshots", "unnamed")

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.end_offset = 0
        self.epochs = LeaderEpochs([])
        self.producer_state = ProducerState()
        self.snapshots: list[int] = []
        self.recovered = False
        self.recovered_from = NOT_RECOVERED
        self.cut_bytes = 0
        self.unnamed: set[int] = set()
        """Segments, by their bases, of which recovery has seen every batch, and none of a producer with an id."""


def load_log(
    storage: Storage,
    directory: Path,
    config: LogConfig,
    *,
    wall_ms: int,
    recovery_point: int,
    clean: bool,
    log_start_offset: int,
    compacted_to: int | None = None,
) -> LoadedLog:
    """Read a partition's directory.

    :param compacted_to: only segments that begin before it may have been compacted; None where nobody knows.
    :raises OSError: as the system gives it.
    """
    loaded = LoadedLog()
    if not clean and compacted_to is not None and any(name.endswith(_COMPACTION_SUFFIXES) for name in storage.list_dir(directory)):
        # A compaction that was not written down yet may have been further.
        compacted_to = None
    _load_segments(storage, directory, loaded, wall_ms)
    segments = loaded.segments
    epochs_from_file = _load_epochs(storage, directory, loaded)
    if segments:
        last = len(segments) - 1
        if not clean:
            # Everything from the recovery point on, with the segment that contains it.
            first = last
            while first > 0 and segments[first].base_offset > recovery_point:
                first -= 1
        else:
            recovery_point = -1
            first = last if not _tail_is_whole(segments[last]) else last + 1
        broken = _first_broken(segments[: min(first, last)], config)
        if broken is not None:
            first, recovery_point = broken, -1
        if first <= last:
            _recover(loaded, config, first=first, recovery_point=recovery_point, compacted_to=None if clean else compacted_to)
        else:
            loaded.end_offset = segments[last].last_offset() + 1
    if segments and loaded.end_offset < log_start_offset:
        # The records that are gone were the newest: nothing that remains may be served.
        for segment in segments:
            loaded.cut_bytes += segment.size
            segment.remove_files()
        segments.clear()
    if not segments:
        segments.append(Segment(storage, directory, log_start_offset, size=0, created_ms=wall_ms))
        loaded.end_offset = log_start_offset
    segments[-1].prepare_to_append(loaded.end_offset)
    if not epochs_from_file and loaded.recovered_from != segments[0].base_offset:
        # What was recovered, if anything was, has only told of its own part.
        loaded.epochs.clear()
        # A segment that a clean stop vouched for and that is corrupt all the same tells what it can.
        with contextlib.suppress(ApiError):
            for segment in segments:
                for _, header in segment.headers():
                    if header.partition_leader_epoch > loaded.epochs.latest:
                        loaded.epochs.assign(header.partition_leader_epoch, header.base_offset)
    loaded.epochs.truncate_from_end(loaded.end_offset)
    loaded.epochs.truncate_from_start(max(log_start_offset, segments[0].base_offset))
    _load_producers(storage, directory, loaded)
    return loaded


def producers_from(
    storage: Storage,
    directory: Path,
    segments: list[Segment],
    snapshots: list[int],
    end_offset: int,
    *,
    index_from: int | None = None,
    unnamed: Collection[int] = (),
) -> tuple[ProducerState, list[int]]:
    """The producers' state at ``end_offset``: the newest good snapshot, and the batches after it.

    Snapshots beyond the end and broken ones are removed; what remains is returned with the state.
    From the segment with the base ``index_from`` on the transaction indexes are made again.
    Segments in ``unnamed`` are not read, for they say nothing of producers.
    """
    state = ProducerState()
    start = segments[0].base_offset
    kept = []
    for offset in sorted(snapshots):
        if offset > end_offset:
            storage.remove(directory / segment_file_name(offset, SNAPSHOT_SUFFIX))
        else:
            kept.append(offset)
    indexed = [] if index_from is None else [segment for segment in segments if segment.base_offset >= index_from]
    for segment in indexed:
        segment.clear_transactions()
    for offset in reversed(kept.copy()):
        if indexed and offset > indexed[0].base_offset:
            continue
        try:
            state = ProducerState.load(storage.read(directory / segment_file_name(offset, SNAPSHOT_SUFFIX)))
        except CorruptSnapshot:
            storage.remove(directory / segment_file_name(offset, SNAPSHOT_SUFFIX))
            kept.remove(offset)
        else:
            start = max(start, offset)
            break
    if start < end_offset:
        for number, segment in enumerate(segments):
            if number + 1 < len(segments) and segments[number + 1].base_offset <= start:
                continue
            if segment.base_offset in unnamed:
                continue
            position = segment.locate(start) if start > segment.base_offset else 0
            for at, header in segment.headers(position):
                if header.producer_id > NO_PRODUCER_ID and header.base_offset >= start:
                    data = segment.file.read(at, header.size_bytes) if header.is_control else b""
                    aborted = state.update_from(header, data)
                    if aborted is not None and indexed and segment.base_offset >= indexed[0].base_offset:
                        segment.add_aborted(aborted)
    return state, kept


def _load_segments(storage: Storage, directory: Path, loaded: LoadedLog, wall_ms: int) -> None:
    by_offset: dict[int, set[str]] = defaultdict(set)
    for name in settle_files(storage, directory):
        offset = offset_of(name)
        if offset is not None:
            by_offset[offset].add(name[OFFSET_DIGITS:])
    for offset, suffixes in sorted(by_offset.items()):
        if LOG_SUFFIX in suffixes:
            size = storage.size(directory / segment_file_name(offset, LOG_SUFFIX))
            loaded.segments.append(Segment(storage, directory, offset, size=size, created_ms=wall_ms))
        else:
            for suffix in suffixes.intersection(SEGMENT_SUFFIXES):
                storage.remove(directory / segment_file_name(offset, suffix))
        if SNAPSHOT_SUFFIX in suffixes:
            loaded.snapshots.append(offset)


def _load_epochs(storage: Storage, directory: Path, loaded: LoadedLog) -> bool:
    try:
        loaded.epochs = LeaderEpochs(read_leader_epochs(storage, directory / LEADER_EPOCH_FILE))
    except StorageError:
        # It says nothing that the batches do not say.
        loaded.epochs.dirty = True
        return False
    return bool(loaded.epochs.entries)


def _tail_is_whole(segment: Segment) -> bool:
    if not segment.load_indexes():
        return False
    end = segment.index.last_position
    try:
        for position, header in segment.headers(end):
            end = position + header.size_bytes
    except ApiError:
        return False
    return end == segment.size


def _first_broken(segments: list[Segment], config: LogConfig) -> int | None:
    """Make missing indexes of inactive segments again; the first segment whose batches do not allow it."""
    for number, segment in enumerate(segments):
        if not segment.load_indexes():
            try:
                segment.rebuild_indexes(config.index_interval_bytes)
            except ApiError:
                return number
            segment.become_inactive()
    return None


def _recover(loaded: LoadedLog, config: LogConfig, *, first: int, recovery_point: int, compacted_to: int | None) -> None:
    """Validate from segment ``first`` on; the log ends before the first batch that is not right."""
    segments = loaded.segments
    loaded.recovered = True
    loaded.recovered_from = expected = segments[first].base_offset
    for number in range(first, len(segments)):
        segment = segments[number]
        size = segment.size
        if number > first and segment.base_offset > expected and not _may_leave_gap(segments[number - 1], segment, compacted_to):
            _remove_from(loaded, number)
            break
        expected = max(expected, segment.base_offset)
        expected, is_named = _recover_segment(segment, loaded.epochs, config, recovery_point, expected)
        if not is_named:
            loaded.unnamed.add(segment.base_offset)
        # The recovered bytes may never have reached the disk.
        segment.unsynced = True
        if segment.size < size:
            loaded.cut_bytes += size - segment.size
            segment.file.truncate(segment.size)
            _remove_from(loaded, number + 1)
            break
        if number + 1 < len(segments):
            segment.become_inactive()
    loaded.end_offset = expected


def _may_leave_gap(before: Segment, after: Segment, compacted_to: int | None) -> bool:
    """Whether nothing is missed between two segments: a compaction may have been here.

    Or at the leader: its follower rolls at the end of its own log, but where what comes lies too far on for a segment.
    """
    return compacted_to is None or before.base_offset < compacted_to or after.base_offset - before.base_offset > RELATIVE_OFFSET_MAX


def _remove_from(loaded: LoadedLog, number: int) -> None:
    for lost in loaded.segments[number:]:
        loaded.cut_bytes += lost.size
        lost.remove_files()
    del loaded.segments[number:]


def _recover_segment(segment: Segment, epochs: LeaderEpochs, config: LogConfig, recovery_point: int, expected: int) -> tuple[int, bool]:
    """The offset after the segment's last good batch, and whether one of those was of a producer with an id."""
    started = is_named = False
    try:
        for _, header, data in segment.batches(data_from=recovery_point):
            if not started:
                # Only now: the walk has seen how long the file is.
                segment.start_over()
                started = True
            if header.base_offset < expected:
                break
            # Below the recovery point the bytes are known to have reached the disk; a negative delta did not come from us.
            if header.last_offset >= recovery_point or header.last_offset_delta < 0:
                validate(data, 0, header)
            if header.producer_id > NO_PRODUCER_ID:
                is_named = True
            segment.note_batch(header.last_offset, header.max_timestamp, header.size_bytes, config.index_interval_bytes)
            expected = header.next_offset
            if header.partition_leader_epoch > epochs.latest:
                epochs.assign(header.partition_leader_epoch, header.base_offset)
    except ApiError:
        # The batch at the segment's size as it now stands is not one.
        pass
    if not started:
        segment.start_over()
    return expected, is_named


def _load_producers(storage: Storage, directory: Path, loaded: LoadedLog) -> None:
    segments, end_offset = loaded.segments, loaded.end_offset
    bases = {segment.base_offset for segment in segments}
    newest = max((offset for offset in loaded.snapshots if offset <= end_offset), default=-1)
    keep = []
    for offset in loaded.snapshots:
        if offset == newest or offset in bases:
            keep.append(offset)
        else:
            storage.remove(directory / segment_file_name(offset, SNAPSHOT_SUFFIX))
    # What was recovered is indexed again, and what has an index that is none.
    index_from = min(
        (
            segment.base_offset
            for segment in segments
            if segment.base_offset >= loaded.recovered_from or not segment.transactions_are_sane()
        ),
        default=None,
    )
    loaded.producer_state, loaded.snapshots = producers_from(
        storage, directory, segments, keep, end_offset, index_from=index_from, unnamed=loaded.unnamed
    )
