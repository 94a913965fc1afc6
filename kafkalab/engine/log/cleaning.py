"""One compaction of one log, in steps small enough to be taken between other work.

First the dirty part is read, and of each key is remembered where it was written last. Then every
segment up to there is copied without the records that were written again later: in the dirty part
those whose places were not remembered, before it those whose keys were. A batch all of whose records
stay is copied as it is; a batch that loses records is made anew with its offsets, sequence numbers
and timestamps; a batch that loses all of them goes, unless it is the last one of a producer or of the
compacted part: these stay behind empty.

Tombstones and markers of finished transactions stay until ``delete.retention.ms`` after the
compaction that met them first; that time is written into their batch (bit 6 of the attributes) in
place of the base timestamp.

A segment's replacement is written beside it and put in place when it is complete and synced, its name
too: a file system may keep a renaming that takes the old one away and lose a name that is new. If the
log was cut or segments went meanwhile, the compaction is given up: nothing was changed then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.log.cleaned_batch import Selection, empty_batch, remade, with_horizon
from kafkalab.engine.log.cleaned_transactions import CleanedTransactions
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.offset_map import OffsetMap, Places, place_of, short_keys
from kafkalab.engine.log.segment import (
    CLEANED_SUFFIX,
    INDEX_SUFFIX,
    LOG_SUFFIX,
    RELATIVE_OFFSET_MAX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    Segment,
)
from kafkalab.engine.log.storage import DataFile, Storage
from kafkalab.engine.record.batch import (
    DELETE_HORIZON_BIT,
    HEADER_BYTES,
    NO_PRODUCER_ID,
    BatchHeader,
    iter_headers,
    read_header,
    records_of,
    records_payload,
    validate,
)
from kafkalab.engine.record.compression import Codec
from kafkalab.engine.record.control import ControlType, decode_key
from kafkalab.engine.record.keys import Stretch, add_starts, iter_stretches

READ_BYTES: Final = 256 * 1024
STEP_RECORDS_MAX: Final = 2048


class CleaningAborted(Exception):
    """The log is not any more what it was when its compaction began."""


class SyncFiles(NamedTuple):
    """A step that waits for the disk: the next one follows when these files are synced, and the names in their directory."""

    files: list[DataFile]
    directory: Path


class CleaningStats:
    """What one compaction did."""

    __slots__ = (
        "bytes_after",
        "bytes_before",
        "duration_ms",
        "keys",
        "map_bytes_read",
        "records_dropped",
        "records_kept",
        "records_without_key",
    )

    def __init__(self) -> None:
        self.map_bytes_read = 0
        self.keys = 0
        self.bytes_before = 0
        self.bytes_after = 0
        self.records_kept = 0
        self.records_dropped = 0
        self.records_without_key = 0
        self.duration_ms = 0.0
        """From the choice of the log to its last segment; set by whoever took the time."""


class _LastRecord(NamedTuple):
    """The newest that a producer wrote: a batch of data, or nothing but markers."""

    last_data_offset: int | None
    producer_epoch: int


class Cleaning:
    """Made for one run; :meth:`steps` does the work while it is iterated over."""

    def __init__(
        self,
        log: Log,
        storage: Storage,
        *,
        first_dirty_offset: int,
        first_uncleanable_offset: int,
        offset_map: OffsetMap,
        wall_ms: int,
        read_bytes: int = READ_BYTES,
    ) -> None:
        self.log = log
        self.stats = CleaningStats()
        self.end_offset = first_dirty_offset
        """When all steps are done: where the log is dirty now."""
        self._storage = storage
        self._config = log.config
        self._first_dirty_offset = first_dirty_offset
        self._first_uncleanable_offset = first_uncleanable_offset
        self._map = offset_map
        self._places = Places()
        self._now_ms = wall_ms
        self._read_bytes = max(read_bytes, HEADER_BYTES)
        self._cleaned: Segment | None = None
        self._producers: dict[int, _LastRecord] = {}
        self._truncations = log.truncations

    def steps(self) -> Iterator[int | SyncFiles]:
        """Do everything, a little at a time: each step tells how many bytes it read and wrote, or what it waits for.

        :raises CleaningAborted: when the log has changed meanwhile.
        :raises ApiError: when a batch is corrupt.
        :raises OSError: when the disk refuses.
        """
        yield from self._build_map()
        self._check()
        self.stats.keys = len(self._map)
        end_offset = self._map.latest_offset + 1
        for _ in self._places.fill(self._map.places()):
            yield 0
        transactions = CleanedTransactions()
        for group in group_segments(
            segments_between(self.log.sealed_segments(), 0, end_offset),
            self._config.segment_bytes,
            self._config.segment_index_bytes,
            self._first_uncleanable_offset,
        ):
            yield from self._clean_group(group, transactions)
        self._check()
        self.end_offset = end_offset

    def discard(self) -> None:
        """Remove what was written and is in no place yet; for a run that ends before its last step."""
        if self._cleaned is not None:
            self._cleaned.remove_files()
            self._cleaned = None

    # --- the dirty part -----------------------------------------------------------------------------

    def _build_map(self) -> Iterator[int]:
        start, end = self._first_dirty_offset, self._first_uncleanable_offset
        dirty = segments_between(self.log.sealed_segments(), start, end)
        transactions = CleanedTransactions()
        transactions.add_aborted(self.log.aborted_between(start, end))
        for number, segment in enumerate(dirty):
            position = segment.index.lookup(start - segment.base_offset) if start > segment.base_offset else 0
            for chunk in self._chunks(segment, position):
                records = 0
                for at, header in iter_headers(chunk):
                    if header.is_control:
                        transactions.on_marker(header, _control_type(chunk, at, header))
                    elif not transactions.on_records(header) and header.last_offset >= start:
                        # A flipped bit in a key would make another key's last record look old.
                        validate(chunk, at, header)
                        data, first, stop = _records(chunk, at, header)
                        for stretch in iter_stretches(data, header.record_count, first, stop):
                            if not self._note_keys(header, stretch):
                                return
                            records += len(stretch.keys)
                            if records >= STEP_RECORDS_MAX:
                                yield 0
                                records = 0
                    self._map.latest_offset = max(self._map.latest_offset, header.last_offset)
                self.stats.map_bytes_read += len(chunk)
                yield len(chunk)
            next_offset = dirty[number + 1].base_offset if number + 1 < len(dirty) else end
            self._map.latest_offset = max(self._map.latest_offset, next_offset - 1)

    def _note_keys(self, header: BatchHeader, stretch: Stretch) -> bool:
        keys, deltas, has_value = stretch.keys, stretch.offset_deltas, stretch.has_value
        base = header.base_offset
        if None not in keys and base + deltas[0] >= self._first_dirty_offset:
            if isinstance(deltas, range) and isinstance(has_value, bool):
                places = range(place_of(base + deltas.start, has_value), place_of(base + deltas.stop, has_value), 2)
                return self._map.put(short_keys(keys), places)  # type: ignore[arg-type]
        chosen = [
            (key, place_of(base + delta, is_value))
            for key, delta, is_value in zip(keys, deltas, _by_record(stretch), strict=True)
            if key is not None and base + delta >= self._first_dirty_offset
        ]
        if not self._map.put(short_keys([key for key, _ in chosen]), [place for _, place in chosen]):
            return False
        self.stats.records_without_key += keys.count(None)
        return True

    # --- copying ------------------------------------------------------------------------------------

    def _clean_group(self, group: list[Segment], transactions: CleanedTransactions) -> Iterator[int | SyncFiles]:
        first = group[0]
        cleaned = Segment(self._storage, self.log.directory, first.base_offset, size=0, created_ms=first.created_ms, suffix=CLEANED_SUFFIX)
        # There may be one of an earlier run.
        cleaned.remove_files()
        cleaned.file.truncate(0)
        self._cleaned = cleaned
        self._producers = {
            producer_id: _LastRecord(entry.batches[-1].last_offset if entry.batches else None, entry.epoch)
            for producer_id, entry in self.log.producer_state.entries.items()
        }
        is_changed = len(group) > 1
        for number, segment in enumerate(group):
            end = group[number + 1].base_offset if number + 1 < len(group) else segment.last_offset() + 1
            transactions.add_aborted(self.log.aborted_between(segment.base_offset, end))
            for chunk in self._chunks(segment, 0):
                out = _Output(chunk)
                records = 0
                for at, header in iter_headers(chunk):
                    for kept in self._filter(chunk, at, header, transactions):
                        if kept is None:
                            # A large batch: there is time for others in the middle of it.
                            yield 0
                        else:
                            out.add(at, header, kept)
                    records += header.record_count
                    if records >= STEP_RECORDS_MAX:
                        yield 0
                        records = 0
                self._check(segment)
                written = out.write_to(cleaned, self._config.index_interval_bytes)
                is_changed = is_changed or out.is_changed
                yield len(chunk) + written
        before = sum(segment.size for segment in group)
        self.stats.bytes_before += before
        self.stats.bytes_after += cleaned.size
        retained, transactions.retained = transactions.retained, []
        if not is_changed:
            self.discard()
            return
        cleaned.become_inactive()
        kinds = [INDEX_SUFFIX, TIME_INDEX_SUFFIX]
        for transaction in retained:
            cleaned.add_aborted(transaction)
        if retained:
            kinds.append(TRANSACTION_INDEX_SUFFIX)
        files = [cleaned.file, *(self._storage.open(str(cleaned.path(kind))) for kind in kinds)]
        yield SyncFiles(files, self.log.directory)
        for file in files:
            file.close()
        cleaned.unsynced = cleaned.indexes_unsynced = False
        for segment in group:
            self._check(segment)
        # What has no timestamps is as old as its file, and that is not younger for being copied.
        self._storage.set_modified_ms(cleaned.path(LOG_SUFFIX), self._storage.modified_ms(group[-1].path(LOG_SUFFIX)))
        self._cleaned = None
        self.log.replace_segments(cleaned, group)
        # Before it is written down that the log is compacted, and before what was replaced is removed.
        yield SyncFiles([], self.log.directory)

    def _filter(self, chunk: bytes, at: int, header: BatchHeader, transactions: CleanedTransactions) -> Iterator[bytes | bool | None]:
        """What is left of a batch, as the last thing: True for all of it, False for nothing, or new bytes."""
        horizon = header.base_timestamp if header.attributes & DELETE_HORIZON_BIT else None
        if header.is_control:
            is_useless = transactions.on_marker(header, _control_type(chunk, at, header))
            drops_all = is_useless and horizon is not None and horizon <= self._now_ms
        else:
            is_useless = False
            drops_all = transactions.on_records(header)
        keeps_empty = self._is_last_of_producer(header) or header.next_offset == self._first_uncleanable_offset
        if drops_all or not header.record_count:
            self.stats.records_dropped += header.record_count
            if not keeps_empty:
                yield False
            elif not header.record_count:
                yield True
            else:
                yield empty_batch(header)
            return
        if header.is_control:
            if is_useless and horizon is None:
                yield with_horizon(chunk, at, header, self._now_ms + self._config.delete_retention_ms)
            else:
                yield True
            return
        selection = Selection()
        keeps_tombstones = horizon is None or self._now_ms < horizon
        # Of these batches every record was looked at, and each has an offset.
        is_remembered = (
            header.base_offset >= self._first_dirty_offset
            and header.last_offset <= self._map.latest_offset
            and header.record_count == header.last_offset_delta + 1
            and not header.is_transactional
        )
        if is_remembered:
            self._select_by_place(header, keeps_tombstones, selection)
        else:
            data, start, stop = _records(chunk, at, header)
            looked_at = 0
            for stretch in iter_stretches(data, header.record_count, start, stop):
                self._select_by_key(header, stretch, keeps_tombstones, selection)
                looked_at += len(stretch.keys)
                if looked_at >= STEP_RECORDS_MAX:
                    yield None
                    looked_at = 0
            selection.starts.append(stop)
        count = len(selection.chosen)
        self.stats.records_kept += count
        self.stats.records_dropped += header.record_count - count
        needs_horizon = selection.has_tombstones and horizon is None
        if not count:
            yield empty_batch(header) if keeps_empty else False
        elif count == header.record_count and not needs_horizon:
            yield True
        else:
            # New bytes get a new checksum, which must not make good what had gone bad.
            validate(chunk, at, header)
            if is_remembered:
                data, start, stop = _records(chunk, at, header)
                starts, left = selection.starts, header.record_count
                while left:
                    start = add_starts(starts, data, start, min(left, STEP_RECORDS_MAX))
                    left = header.record_count - len(starts)
                    if left:
                        yield None
                if start != stop:
                    raise ApiError(Errors.CORRUPT_MESSAGE, f"Record is corrupt: the records of {header.base_offset} end early or late")
                starts.append(stop)
            if needs_horizon:
                horizon = self._now_ms + self._config.delete_retention_ms
            yield remade(header, data, selection, horizon)

    def _select_by_place(self, header: BatchHeader, keeps_tombstones: bool, selection: Selection) -> None:
        """All of the batch was looked at: its newest records are known by their offsets."""
        places = self._places.between(header.base_offset, header.last_offset)
        if not keeps_tombstones:
            places = [place for place in places if not place & 1]
        base = header.base_offset
        selection.chosen = [(place >> 1) - base for place in places]
        selection.has_tombstones = any(place & 1 for place in places)

    def _select_by_key(self, header: BatchHeader, stretch: Stretch, keeps_tombstones: bool, selection: Selection) -> None:
        keys, has_value = stretch.keys, stretch.has_value
        first = len(selection.starts)
        selection.starts.extend(stretch.starts)
        numbers = range(first, first + len(keys))
        latest = self._map.latest_offset
        if header.base_offset + stretch.offset_deltas[0] > latest:
            selection.chosen.extend(numbers)
            selection.has_tombstones = selection.has_tombstones or not all(_by_record(stretch))
            return
        base = header.base_offset
        if base + stretch.offset_deltas[-1] <= latest and None not in keys and (has_value is True or keeps_tombstones):
            found = list(map(self._map.get, short_keys(keys)))  # type: ignore[arg-type]
            if found.count(None) == len(found):
                chosen = list(numbers)
            else:
                chosen = [
                    number
                    for number, place, delta in zip(numbers, found, stretch.offset_deltas, strict=True)
                    if place is None or base + delta >= place >> 1
                ]
        else:
            chosen = []
            for number, key, delta, is_value in zip(numbers, keys, stretch.offset_deltas, _by_record(stretch), strict=True):
                offset = base + delta
                if offset > latest:
                    chosen.append(number)
                elif key is None:
                    # Those of the dirty part were counted when it was read.
                    self.stats.records_without_key += offset < self._first_dirty_offset
                else:
                    place = self._map.get(short_keys((key,))[0])
                    if (place is None or offset >= place >> 1) and (is_value or keeps_tombstones):
                        chosen.append(number)
        selection.chosen.extend(chosen)
        if has_value is not True and not selection.has_tombstones:
            values = _by_record(stretch)
            selection.has_tombstones = not all(values[number - first] for number in chosen)

    def _is_last_of_producer(self, header: BatchHeader) -> bool:
        if header.producer_id <= NO_PRODUCER_ID:
            return False
        last = self._producers.get(header.producer_id)
        if last is None:
            return False
        if last.last_data_offset is not None:
            return header.last_offset == last.last_data_offset
        return header.is_control and header.producer_epoch == last.producer_epoch

    # --- reading ------------------------------------------------------------------------------------

    def _chunks(self, segment: Segment, position: int) -> Iterator[bytes]:
        """The segment's bytes in pieces that begin and end with a batch."""
        size = segment.size
        while position < size:
            self._check(segment)
            chunk = segment.file.read(position, min(self._read_bytes, size - position))
            if len(chunk) < HEADER_BYTES:
                raise _no_batch(segment, position)
            first_size = read_header(chunk).size_bytes
            if first_size < HEADER_BYTES or position + first_size > size:
                raise _no_batch(segment, position)
            if first_size > len(chunk):
                chunk = segment.file.read(position, first_size)
                if len(chunk) < first_size:
                    raise _no_batch(segment, position)
            used = 0
            for at, header in iter_headers(chunk):
                used = at + header.size_bytes
            yield chunk if used == len(chunk) else chunk[:used]
            position += used

    def _check(self, segment: Segment | None = None) -> None:
        if self.log.truncations != self._truncations:
            raise CleaningAborted(f"{self.log.topic_partition}: the log was cut")
        if segment is not None and not self.log.is_sealed(segment):
            raise CleaningAborted(f"{self.log.topic_partition}: segment {segment.base_offset} is gone")


class _Output:
    """What is left of one chunk; batches that stay as they are remain in it until it is written."""

    __slots__ = ("_chunk", "_notes", "_parts", "_raw_end", "_raw_start", "is_changed")

    def __init__(self, chunk: bytes) -> None:
        self._chunk = memoryview(chunk)
        self._parts: list[bytes | memoryview] = []
        self._notes: list[tuple[int, int, int]] = []
        self._raw_start = self._raw_end = 0
        self.is_changed = False

    def add(self, at: int, header: BatchHeader, kept: bytes | bool) -> None:
        if kept is True:
            if at != self._raw_end:
                self._cut_raw()
                self._raw_start = at
            self._raw_end = at + header.size_bytes
            self._notes.append((header.last_offset, header.max_timestamp, header.size_bytes))
            return
        self.is_changed = True
        if isinstance(kept, bytes):
            self._cut_raw()
            self._parts.append(kept)
            self._notes.append((header.last_offset, read_header(kept).max_timestamp, len(kept)))

    def _cut_raw(self) -> None:
        if self._raw_end > self._raw_start:
            self._parts.append(self._chunk[self._raw_start : self._raw_end])
        self._raw_start = self._raw_end

    def write_to(self, segment: Segment, index_interval_bytes: int) -> int:
        self._cut_raw()
        if not self._parts:
            return 0
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        segment.write(b"", body)
        for last_offset, max_timestamp, size in self._notes:
            segment.note_batch(last_offset, max_timestamp, size, index_interval_bytes)
        return len(body)


def segments_between(segments: list[Segment], start: int, end: int) -> list[Segment]:
    """The segments from the one that contains ``start`` on that begin before ``end``."""
    if start >= end:
        return []
    return [
        segment
        for number, segment in enumerate(segments)
        if segment.base_offset < end and (number + 1 == len(segments) or segments[number + 1].base_offset > start)
    ]


def group_segments(
    segments: list[Segment], segment_bytes_max: int, index_bytes_max: int, first_uncleanable_offset: int
) -> list[list[Segment]]:
    """Neighbours that fit into one segment together, so that logs do not fall into ever smaller pieces."""
    groups: list[list[Segment]] = []
    size = index_bytes = time_index_bytes = 0
    for number, segment in enumerate(segments):
        last_offset = (segments[number + 1].base_offset if number + 1 < len(segments) else first_uncleanable_offset) - 1
        own_index_bytes, own_time_index_bytes = segment.index.size_bytes, segment.time_index.size_bytes
        if (
            groups
            and size + segment.size <= segment_bytes_max
            and index_bytes + own_index_bytes <= index_bytes_max
            and time_index_bytes + own_time_index_bytes <= index_bytes_max
            and (not segment.size or last_offset - groups[-1][0].base_offset <= RELATIVE_OFFSET_MAX)
        ):
            groups[-1].append(segment)
            size += segment.size
            index_bytes += own_index_bytes
            time_index_bytes += own_time_index_bytes
        else:
            groups.append([segment])
            size, index_bytes, time_index_bytes = segment.size, own_index_bytes, own_time_index_bytes
    return groups


def _records(chunk: bytes, at: int, header: BatchHeader) -> tuple[bytes, int, int]:
    """The bytes that hold a batch's records, and where they begin and end in them."""
    if header.codec == Codec.NONE:
        return chunk, at + HEADER_BYTES, at + header.size_bytes
    payload = bytes(records_payload(chunk, at, header))
    return payload, 0, len(payload)


def _by_record(stretch: Stretch) -> Sequence[bool]:
    return [stretch.has_value] * len(stretch.keys) if isinstance(stretch.has_value, bool) else stretch.has_value


def _control_type(chunk: bytes, at: int, header: BatchHeader) -> ControlType | None:
    """The type of marker; of unknown ones that of one that nobody may remove; None when the batch is empty."""
    if not header.record_count:
        return None
    control_type = decode_key(next(records_of(chunk, at, header)).key)
    return ControlType.LEADER_CHANGE if control_type is None else control_type


def _no_batch(segment: Segment, position: int) -> ApiError:
    name = Path(segment.path(LOG_SUFFIX)).name
    return ApiError(Errors.CORRUPT_MESSAGE, f"Log segment may be corrupt: no batch at position {position} of {name}")
