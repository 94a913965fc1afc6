"""``kafkalab dump-log``: what is in Kafka's files, in the words of Kafka's own tool.

Segments, indexes, producer snapshots and metadata snapshots come out line for line as
``kafka-dump-log`` of Kafka 4.3 prints them, so that scripts and eyes used to it find what they know.
Beyond that this reads checkpoints, ``meta.properties``, ``partition.metadata`` and ``quorum-state``, takes
whole directories, and ends with status 1 when something in the files is not as it should be.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import METADATA_TOPIC, OFFSETS_TOPIC, SHARE_GROUP_STATE_TOPIC, TRANSACTIONS_TOPIC
from kafkalab.engine.log import reader
from kafkalab.engine.log.checkpoint import LEADER_EPOCH_FILE
from kafkalab.engine.log.reader import StoredBatch
from kafkalab.engine.log.segment import (
    INDEX_SUFFIX,
    LOG_SUFFIX,
    SNAPSHOT_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
)
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.protocol.codec import DecodeError
from kafkalab.engine.protocol.metadata_records import RecordDecodeError
from kafkalab.engine.protocol.record_schemas import (
    KRAFT_VERSION,
    KRAFT_VOTERS,
    LEADER_CHANGE,
    OFFSETS_TOPIC_SCHEMAS,
    SHARE_GROUP_STATE_SCHEMAS,
    SNAPSHOT_FOOTER,
    SNAPSHOT_HEADER,
    TRANSACTIONS_TOPIC_SCHEMAS,
    Json,
    MessageSchema,
    RecordSchemas,
    UnknownRecordType,
    decode_coordinator_record,
    decode_message,
    decode_metadata_record,
)
from kafkalab.engine.record.batch import NO_SEQUENCE, SEQUENCE_MAX, Record
from kafkalab.engine.record.compression import Codec
from kafkalab.engine.record.control import ControlType, decode_end_transaction_marker, decode_key

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1

CHECKPOINT_SUFFIX: Final = ".checkpoint"
BOOTSTRAP_SNAPSHOT_FILE: Final = "bootstrap.checkpoint"
_SEGMENT_SUFFIXES: Final = (LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, SNAPSHOT_SUFFIX)
_TEXT_FILES: Final = ("meta.properties", "partition.metadata", "quorum-state", reader.CLEAN_SHUTDOWN_FILE)
_DELETE_HORIZON_BIT: Final = 0x40

Decode = Callable[[Record], tuple[str | None, str | None]]
"""Key and payload as text, None for what is not printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpOptions:
    """What was asked for on the command line."""

    files: tuple[Path, ...]
    print_data: bool = False
    deep: bool = False
    skip_record_metadata: bool = False
    verify_indexes_only: bool = False
    sanity_check_only: bool = False
    max_bytes: int | None = None
    decoder: str | None = None
    """``metadata``, ``offsets``, ``transactions``, ``share``; None takes it from the directory's name."""


@dataclass(slots=True)
class _Findings:
    """What is wrong, by file, told at the end as Kafka's tool does."""

    index_mismatches: dict[Path, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    time_mismatches: dict[Path, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    times_out_of_order: dict[Path, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    times_not_in_log: dict[Path, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    gaps: dict[Path, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    broken: bool = False


def run(options: DumpOptions, out: TextIO | None = None, errors: TextIO | None = None) -> int:
    """Print the files one after another, and then what is wrong with them. The exit status."""
    return _Dump(options, out or sys.stdout, errors or sys.stderr).run()


class _Dump:
    def __init__(self, options: DumpOptions, out: TextIO, errors: TextIO) -> None:
        self._options = options
        self._out = out
        self._errors = errors
        self._found = _Findings()

    def run(self) -> int:
        for path in _expand(self._options.files):
            self._say(f"Dumping {path}")
            try:
                self._dump(path)
            except (OSError, StorageError) as error:
                self._found.broken = True
                self._complain(f"{path}: {error.strerror or error}" if isinstance(error, OSError) else str(error))
        self._tell_findings()
        found = self._found
        # Holes are what compaction leaves; they are told, and are no fault.
        is_broken = found.broken or found.index_mismatches or found.time_mismatches or found.times_out_of_order or found.times_not_in_log
        return EXIT_BROKEN if is_broken else EXIT_OK

    def _say(self, line: str) -> None:
        self._out.write(line + "\n")

    def _complain(self, line: str) -> None:
        self._errors.write(line + "\n")

    def _dump(self, path: Path) -> None:
        name = path.name
        if name in reader.OFFSET_CHECKPOINT_FILES:
            self._dump_offset_checkpoint(path)
        elif name == LEADER_EPOCH_FILE:
            self._dump_leader_epochs(path)
        elif name in _TEXT_FILES:
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._say(line)
        elif path.suffix in (LOG_SUFFIX, CHECKPOINT_SUFFIX):
            self._dump_batches(path)
        elif path.suffix == INDEX_SUFFIX:
            self._dump_index(path)
        elif path.suffix == TIME_INDEX_SUFFIX:
            self._dump_time_index(path)
        elif path.suffix == TRANSACTION_INDEX_SUFFIX:
            for entry in reader.read_transaction_index(path):
                self._say(
                    f"version: {entry.version} producerId: {entry.producer_id} firstOffset: {entry.first_offset} "
                    f"lastOffset: {entry.last_offset} lastStableOffset: {entry.last_stable_offset}"
                )
        elif path.suffix == SNAPSHOT_SUFFIX:
            self._dump_producers(path)
        else:
            self._complain(f"Ignoring unknown file {path}")

    # --- small files --------------------------------------------------------------------------------

    def _dump_offset_checkpoint(self, path: Path) -> None:
        _must_exist(path)
        for tp, offset in reader.read_offset_checkpoint(path).items():
            self._say(f"topic: {tp.topic} partition: {tp.partition} offset: {offset}")

    def _dump_leader_epochs(self, path: Path) -> None:
        _must_exist(path)
        for epoch, start_offset in reader.read_leader_epoch_checkpoint(path):
            self._say(f"epoch: {epoch} startOffset: {start_offset}")

    def _dump_producers(self, path: Path) -> None:
        for entry in reader.read_producer_snapshot(path):
            transaction = entry.transaction_first_offset
            line = (
                f"producerId: {entry.producer_id} producerEpoch: {entry.epoch} coordinatorEpoch: {entry.coordinator_epoch} "
                f"currentTxnFirstOffset: {_optional(transaction if transaction >= 0 else None)} lastTimestamp: {entry.last_timestamp}"
            )
            if entry.batches:
                last = entry.batches[-1]
                line += (
                    f" firstSequence: {last.first_sequence} lastSequence: {last.last_sequence} lastOffset: {last.last_offset} "
                    f"offsetDelta: {last.last_offset - last.first_offset} timestamp: {last.timestamp}"
                )
            self._say(line)

    # --- indexes ------------------------------------------------------------------------------------

    def _dump_index(self, path: Path) -> None:
        if self._options.sanity_check_only:
            self._say(f"{path} {'passed sanity check' if reader.check_offset_index(path) else 'is empty'}.")
            return
        entries = reader.read_offset_index(path)
        if not entries:
            self._say(f"{path} is empty.")
            return
        log = path.with_suffix(LOG_SUFFIX)
        for entry in entries:
            batch = next(reader.read_batches(log, entry.position), None)
            last_offset = batch.header.last_offset if batch is not None else -1
            if last_offset != entry.offset:
                self._found.index_mismatches[path].append((entry.offset, last_offset))
            if not self._options.verify_indexes_only:
                self._say(f"offset: {entry.offset} position: {entry.position}")

    def _dump_time_index(self, path: Path) -> None:
        if self._options.sanity_check_only:
            reader.check_time_index(path)
            self._say(f"{path} passed sanity check.")
            return
        entries = reader.read_time_index(path)
        log = path.with_suffix(LOG_SUFFIX)
        try:
            offsets = reader.read_offset_index(path.with_suffix(INDEX_SUFFIX))
        except FileNotFoundError:
            offsets = []
        before = -1
        at = position = 0
        for entry in entries:
            while at < len(offsets) and offsets[at].offset <= entry.offset:
                position = offsets[at].position
                at += 1
            batch = next((one for one in reader.read_batches(log, position) if one.header.last_offset >= entry.offset), None)
            last_offset = batch.header.last_offset if batch is not None else -1
            if batch is None or last_offset != entry.offset:
                self._found.times_not_in_log[path].append((entry.offset, last_offset))
            else:
                newest = batch.header.max_timestamp
                if newest != entry.timestamp:
                    self._found.time_mismatches[path].append((entry.timestamp, newest))
                if before >= entry.timestamp:
                    self._found.times_out_of_order[path].append((entry.timestamp, before))
            if not self._options.verify_indexes_only:
                self._say(f"timestamp: {entry.timestamp} offset: {entry.offset}")
            before = entry.timestamp

    # --- batches ------------------------------------------------------------------------------------

    def _dump_batches(self, path: Path) -> None:
        options = self._options
        last_offset = -1
        if path.suffix == LOG_SUFFIX:
            # What comes before the segment is not missing from it.
            last_offset = reader.base_offset_of(path) - 1
            self._say(f"Log starting offset: {last_offset + 1}")
        elif path.name == BOOTSTRAP_SNAPSHOT_FILE:
            self._say("KRaft bootstrap snapshot")
        else:
            end_offset, _, epoch = path.name.removesuffix(CHECKPOINT_SUFFIX).partition("-")
            if not (end_offset.isdecimal() and epoch.isdecimal()):
                raise StorageError(f"{path}: a snapshot's name is its end offset and epoch")
            self._say(f"Snapshot end offset: {int(end_offset)}, epoch: {int(epoch)}")
        decode = self._decoder(path)
        prints = options.print_data or options.decoder is not None
        deep = options.deep or prints
        end = 0
        for batch in reader.read_batches(path, end=options.max_bytes):
            self._say(_batch_line(batch))
            end = batch.position + batch.header.size_bytes
            if not batch.is_valid:
                self._found.broken = True
            if not deep:
                continue
            try:
                for record in batch.records():
                    if record.offset != last_offset + 1:
                        self._found.gaps[path].append((last_offset, record.offset))
                    last_offset = record.offset
                    self._say(self._record_line(batch, record, decode if prints else None))
            except ApiError as error:
                self._found.broken = True
                self._complain(f"{path}, position {batch.position}: {error.message}")
        trailing = path.stat().st_size - end
        if trailing > 0 and options.max_bytes is None:
            self._found.broken = True
            self._say(f"Found {trailing} invalid bytes at the end of {path.name}")

    def _record_line(self, batch: StoredBatch, record: Record, decode: Decode | None) -> str:
        header = batch.header
        parts: list[str] = []
        if not self._options.skip_record_metadata:
            time = "LogAppendTime" if header.is_log_append_time else "CreateTime"
            delta = record.offset - header.base_offset
            sequence = NO_SEQUENCE if header.base_sequence == NO_SEQUENCE else (header.base_sequence + delta) & SEQUENCE_MAX
            names = ",".join(name for name, _ in record.headers)
            parts.append(
                f"offset: {record.offset} {time}: {record.timestamp} keySize: {_size(record.key)} valueSize: {_size(record.value)} "
                f"sequence: {sequence} headerKeys: [{names}]"
            )
            if header.is_control:
                parts.append(_control_words(record))
        if decode is not None and not header.is_control:
            key, payload = decode(record)
            if key is not None:
                parts.append(f"key: {key}")
            if payload is not None:
                parts.append(f"payload: {payload}")
        return f"| {' '.join(parts)}" if parts else ""

    def _decoder(self, path: Path) -> Decode:
        """As asked for; else what the directory's name says."""
        name = self._options.decoder
        if name is None:
            tp = reader.parse_partition_name(path.absolute().parent.name)
            name = _DECODERS_BY_TOPIC.get(tp.topic) if tp is not None else None
            if name is None and path.suffix == CHECKPOINT_SUFFIX:
                name = "metadata"
        return _DECODERS[name] if name is not None else _decode_text

    # --- the end ------------------------------------------------------------------------------------

    def _tell_findings(self) -> None:
        found = self._found
        self._tell("Mismatches in :{}", "  Index offset: {}, log offset: {}", found.index_mismatches)
        self._tell("Found timestamp mismatch in :{}", "  Index timestamp: {}, log timestamp: {}", found.time_mismatches)
        self._tell(
            "Found out of order timestamp in :{}", "  Index timestamp: {}, Previously indexed timestamp: {}", found.times_out_of_order
        )
        self._tell("The following indexed offsets are not found in :{}", "Indexed offset: {}, found log offset: {}", found.times_not_in_log)
        self._tell("Non-consecutive offsets in {}", "  {} is followed by {}", found.gaps)

    def _tell(self, headline: str, line: str, pairs_by_path: dict[Path, list[tuple[int, int]]]) -> None:
        for path, pairs in pairs_by_path.items():
            self._complain(headline.format(path.absolute()))
            for pair in pairs:
                self._complain(line.format(*pair))


# --- words -------------------------------------------------------------------------------------------


def _batch_line(batch: StoredBatch) -> str:
    header = batch.header
    has_horizon = header.attributes & _DELETE_HORIZON_BIT != 0
    codec = header.codec
    codec_name = Codec(codec).name.lower() if codec in Codec._value2member_map_ else str(codec)
    return (
        f"baseOffset: {header.base_offset} lastOffset: {header.last_offset} count: {header.record_count} "
        f"baseSequence: {header.base_sequence} lastSequence: {header.last_sequence} producerId: {header.producer_id} "
        f"producerEpoch: {header.producer_epoch} partitionLeaderEpoch: {header.partition_leader_epoch} "
        f"isTransactional: {_truth(header.is_transactional)} isControl: {_truth(header.is_control)} "
        f"deleteHorizonMs: {_optional(header.base_timestamp if has_horizon else None)} position: {batch.position} "
        f"{'LogAppendTime' if header.is_log_append_time else 'CreateTime'}: {header.max_timestamp} size: {header.size_bytes} "
        f"magic: {header.magic} compresscodec: {codec_name} crc: {header.crc} isvalid: {_truth(batch.is_valid)}"
    )


_CONTROL_SCHEMAS: Final[dict[ControlType, tuple[str, MessageSchema]]] = {
    ControlType.LEADER_CHANGE: ("LeaderChange: ", LEADER_CHANGE),
    ControlType.SNAPSHOT_HEADER: ("SnapshotHeader ", SNAPSHOT_HEADER),
    ControlType.SNAPSHOT_FOOTER: ("SnapshotFooter ", SNAPSHOT_FOOTER),
    ControlType.KRAFT_VERSION: ("KRaftVersion ", KRAFT_VERSION),
    ControlType.KRAFT_VOTERS: ("KRaftVoters ", KRAFT_VOTERS),
}


def _control_words(record: Record) -> str:
    try:
        control = decode_key(record.key)
        if control in (ControlType.ABORT, ControlType.COMMIT):
            return f"endTxnMarker: {control.name} coordinatorEpoch: {decode_end_transaction_marker(record.value)}"
        if control is None or record.value is None:
            number = int.from_bytes((record.key or b"")[2:4], "big")
            return f"controlType: UNKNOWN({number})"
        title, schema = _CONTROL_SCHEMAS[control]
        version = int.from_bytes(record.value[:2], "big")
        return title + _as_json(decode_message(schema, record.value, version))
    except (ApiError, DecodeError) as error:
        return f"controlType: broken, {error}"


def _decode_text(record: Record) -> tuple[str | None, str | None]:
    return _text(record.key), _text(record.value)


def _decode_metadata(record: Record) -> tuple[str | None, str | None]:
    try:
        return None, _as_json(decode_metadata_record(record.value or b""))
    except (RecordDecodeError, DecodeError, IndexError) as error:
        return None, f"Error at {record.offset}, skipping. {error}"


def _coordinator_decoder(schemas: RecordSchemas) -> Decode:
    def decode(record: Record) -> tuple[str | None, str | None]:
        try:
            key, value = decode_coordinator_record(schemas, record.key, record.value)
        except UnknownRecordType as error:
            return f"Unknown record type {error.record_type} at offset {record.offset}, skipping.", None
        except DecodeError as error:
            return f"Error at offset {record.offset}, skipping. {error}", None
        return _as_json(key), "<DELETE>" if value is None else _as_json(value)

    return decode


_DECODERS: Final[dict[str, Decode]] = {
    "metadata": _decode_metadata,
    "offsets": _coordinator_decoder(OFFSETS_TOPIC_SCHEMAS),
    "transactions": _coordinator_decoder(TRANSACTIONS_TOPIC_SCHEMAS),
    "share": _coordinator_decoder(SHARE_GROUP_STATE_SCHEMAS),
}
_DECODERS_BY_TOPIC: Final = {
    METADATA_TOPIC: "metadata",
    OFFSETS_TOPIC: "offsets",
    TRANSACTIONS_TOPIC: "transactions",
    SHARE_GROUP_STATE_TOPIC: "share",
}


def _as_json(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def _size(content: bytes | None) -> int:
    return -1 if content is None else len(content)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _optional(value: int | None) -> str:
    return "OptionalLong.empty" if value is None else f"OptionalLong[{value}]"


def _must_exist(path: Path) -> None:
    path.stat()


def _expand(paths: Iterable[Path]) -> Iterable[Path]:
    """Files as they are, directories as the files in them that are known."""
    for path in paths:
        if path.is_dir():
            for below in sorted(path.rglob("*")):
                name = below.name
                if name in (*reader.OFFSET_CHECKPOINT_FILES, LEADER_EPOCH_FILE, *_TEXT_FILES) or below.suffix in (
                    *_SEGMENT_SUFFIXES,
                    CHECKPOINT_SUFFIX,
                ):
                    yield below
        else:
            yield path
