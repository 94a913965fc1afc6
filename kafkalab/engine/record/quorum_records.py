"""The control records that make the voters a matter of the metadata log: KRAFT_VERSION and KRAFT_VOTERS (KIP-853)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.record.control import ControlType, encode_key, put_length

_VERSION: Final = struct.Struct(">hhb")
_VOTER: Final = struct.Struct(">i16s")
_RANGE: Final = struct.Struct(">hhb")
_PORT: Final = struct.Struct(">H")
_NO_TAGS: Final = b"\x00"


class VoterRecord(NamedTuple):
    """One voter in a KRAFT_VOTERS record."""

    voter_id: int
    directory_id: uuid.UUID
    endpoints: tuple[tuple[str, str, int], ...]
    """(listener name, host, port)."""
    min_version: int
    max_version: int


def encode_kraft_version(level: int) -> bytes:
    """The value of a KRAFT_VERSION record."""
    return _VERSION.pack(0, level, 0)


def decode_kraft_version(value: bytes | None) -> int:
    """
    :raises ApiError: INVALID_RECORD when the bytes are no such value.
    """
    if value is None or len(value) < _VERSION.size:
        raise ApiError(Errors.INVALID_RECORD, "A KRAFT_VERSION record has a value of at least five bytes")
    return int(_VERSION.unpack_from(value)[1])


def encode_voters(voters: Sequence[VoterRecord]) -> bytes:
    """The value of a KRAFT_VOTERS record."""
    out = bytearray(b"\x00\x00")
    put_length(out, len(voters))
    for voter in voters:
        out += _VOTER.pack(voter.voter_id, voter.directory_id.bytes)
        put_length(out, len(voter.endpoints))
        for name, host, port in voter.endpoints:
            for text in (name, host):
                data = text.encode()
                put_length(out, len(data))
                out += data
            out += _PORT.pack(port) + _NO_TAGS
        out += _RANGE.pack(voter.min_version, voter.max_version, 0) + _NO_TAGS
    return bytes(out + _NO_TAGS)


def decode_voters(value: bytes | None) -> list[VoterRecord]:
    """
    :raises ApiError: INVALID_RECORD when the bytes are no such value.
    """
    if value is None:
        raise ApiError(Errors.INVALID_RECORD, "A KRAFT_VOTERS record has a value")
    reader = _Reader(value)
    try:
        reader.take(2)
        voters = [reader.voter() for _ in range(reader.count())]
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ApiError(Errors.INVALID_RECORD, "A KRAFT_VOTERS record ends early or holds no text where there must be some") from None
    return voters


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise IndexError
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def uvarint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ApiError(Errors.INVALID_RECORD, "A number does not end")

    def count(self) -> int:
        # Each entry takes a byte at least: no more can be announced than is there.
        count = self.uvarint() - 1
        if not 0 <= count <= len(self._data) - self._at:
            raise IndexError
        return count

    def text(self) -> str:
        return self.take(self.count()).decode()

    def skip_tags(self) -> None:
        for _ in range(self.uvarint()):
            self.uvarint()
            self.take(self.uvarint())

    def voter(self) -> VoterRecord:
        voter_id, directory = _VOTER.unpack(self.take(_VOTER.size))
        endpoints = tuple(self.endpoint() for _ in range(self.count()))
        low, high = struct.unpack(">hh", self.take(4))
        self.skip_tags()
        self.skip_tags()
        return VoterRecord(voter_id, uuid.UUID(bytes=directory), endpoints, low, high)

    def endpoint(self) -> tuple[str, str, int]:
        name, host = self.text(), self.text()
        (port,) = _PORT.unpack(self.take(2))
        self.skip_tags()
        return name, host, port


def control_batch(controls: Sequence[tuple[ControlType, bytes]], *, base_offset: int, epoch: int, timestamp_ms: int) -> bytes:
    """One control batch with these records in the metadata log."""
    records = [Record(base_offset + index, timestamp_ms, encode_key(kind), value) for index, (kind, value) in enumerate(controls)]
    return build_batch(records, base_offset=base_offset, leader_epoch=epoch, control=True)
