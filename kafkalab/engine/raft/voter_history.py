"""The voters and the kraft.version as the metadata log tells them, each from its offset on.

A voter set counts from the moment when its record is in the log, committed or not: that is what
makes one change after the other safe (KIP-853). When the log's tail is cut, what was said there is
forgotten; when its head is dropped, the last word before the new start stays.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.common.ids import ZERO_UUID
from kafkalab.engine.raft.voters import KRAFT_VERSION_MAX, KRAFT_VERSION_MIN, ReplicaKey, Voter, VoterSet
from kafkalab.engine.record.batch import iter_headers, records_of
from kafkalab.engine.record.control import ControlType, decode_key
from kafkalab.engine.record.quorum_records import (
    VoterRecord,
    decode_kraft_version,
    decode_voters,
    encode_kraft_version,
    encode_voters,
)

READ_BYTES_MAX: Final = 1_048_576
BOOTSTRAP_OFFSET: Final = -1
"""Where formatting said who votes: before the log's first offset."""

_T = TypeVar("_T")


class ReadableLog(Protocol):
    """The part of the log that the history is read from."""

    @property
    def log_start_offset(self) -> int: ...

    @property
    def log_end_offset(self) -> int: ...

    def read(self, offset: int, max_bytes: int, *, max_offset: int | None = None) -> bytes: ...


class OffsetHistory(Generic[_T]):
    """Values by the offset that they count from, rising."""

    __slots__ = ("_offsets", "_values")

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._values: list[_T] = []

    def add(self, offset: int, value: _T) -> None:
        assert not self._offsets or offset > self._offsets[-1], "history goes forward"
        self._offsets.append(offset)
        self._values.append(value)

    @property
    def last(self) -> tuple[int, _T] | None:
        return (self._offsets[-1], self._values[-1]) if self._offsets else None

    def at_or_before(self, offset: int) -> _T | None:
        index = bisect_right(self._offsets, offset)
        return self._values[index - 1] if index else None

    def from_offset(self, offset: int) -> list[_T]:
        """What counts at that offset, and all that comes later."""
        return self._values[max(0, bisect_right(self._offsets, offset) - 1) :]

    def truncate_from(self, offset: int) -> None:
        """What counts from this offset on was never so."""
        while self._offsets and self._offsets[-1] >= offset:
            self._offsets.pop()
            self._values.pop()

    def forget_before(self, offset: int) -> None:
        """Keep of what counts from this offset or earlier only the last."""
        dropped = max(0, bisect_right(self._offsets, offset) - 1)
        del self._offsets[:dropped]
        del self._values[:dropped]

    def clear(self) -> None:
        self._offsets.clear()
        self._values.clear()


class VoterHistory:
    """Reads control records as they come into the log; before the first, the static voters vote."""

    def __init__(self, static: VoterSet) -> None:
        self.static: Final = static
        self._voters: Final[OffsetHistory[VoterSet]] = OffsetHistory()
        self._versions: Final[OffsetHistory[int]] = OffsetHistory()
        self._last_voters = static
        self.next_offset = 0
        """Everything before it in the log has been read."""

    # --- questions -----------------------------------------------------------------------------

    @property
    def voters(self) -> VoterSet:
        """Who votes as of the end of the log."""
        return self._last_voters

    @property
    def voters_offset(self) -> int | None:
        """Where the log says so, :data:`BOOTSTRAP_OFFSET` for a formatted directory; None for static voters."""
        last = self._voters.last
        return None if last is None else last[0]

    def may_be_voter(self, key: ReplicaKey, high_watermark: int) -> bool:
        """Whether a replica votes by any of the voter sets that may be the committed one."""
        if self._last_voters.is_voter(key):
            return True
        committed = self._voters.at_or_before(high_watermark - 1)
        sets = self._voters.from_offset(high_watermark - 1)
        return any(voters.is_voter(key) for voters in sets) or (committed is None and self.static.is_voter(key))

    @property
    def kraft_version(self) -> int:
        """As of the end of the log."""
        last = self._versions.last
        return 0 if last is None else last[1]

    def kraft_version_at(self, offset: int) -> int:
        """The level that counts at that offset."""
        return self._versions.at_or_before(offset) or 0

    def controls_at(self, offset: int) -> list[tuple[ControlType, bytes]]:
        """What a snapshot that ends with that offset says of the quorum: nothing while its voters are static."""
        version, voters = self.kraft_version_at(offset), self._voters.at_or_before(offset)
        if version == 0:
            return []
        controls = [(ControlType.KRAFT_VERSION, encode_kraft_version(version))]
        if voters is not None:
            controls.append((ControlType.KRAFT_VOTERS, voters_value(voters)))
        return controls

    # --- what happens to the log ---------------------------------------------------------------

    def load_snapshot(self, controls: Iterable[tuple[ControlType, bytes]], end_offset: int) -> None:
        """Begin anew with what a snapshot says; the log is read from its end offset on."""
        self._voters.clear()
        self._versions.clear()
        for kind, value in controls:
            self._take(kind, value, end_offset - 1)
        self._voters_changed()
        self.next_offset = end_offset

    def catch_up(self, log: ReadableLog) -> bool:
        """Read what is new in the log; whether the voters changed."""
        before = self._last_voters
        end_offset = log.log_end_offset
        self.next_offset = max(self.next_offset, log.log_start_offset)
        while self.next_offset < end_offset:
            self._read(log.read(self.next_offset, READ_BYTES_MAX))
        self._voters_changed()
        return self._last_voters != before

    def appended(self, data: bytes, log: ReadableLog) -> bool:
        """These batches were appended to the log; whether they change the voters."""
        before = self._last_voters
        if self._read(data):
            self._voters_changed()
        if self.next_offset != log.log_end_offset:
            # Not all of it was taken, or something came before it.
            self.catch_up(log)
        return self._last_voters != before

    def skip_to(self, end_offset: int) -> None:
        """Up to there nothing was said of voters."""
        self.next_offset = end_offset

    def truncate_from(self, offset: int) -> bool:
        """The log was cut; whether that changes the voters."""
        before = self._last_voters
        self._voters.truncate_from(offset)
        self._versions.truncate_from(offset)
        self.next_offset = min(self.next_offset, offset)
        self._voters_changed()
        return self._last_voters != before

    def forget_before(self, offset: int) -> None:
        """The log starts at that offset now."""
        self._voters.forget_before(offset)
        self._versions.forget_before(offset)

    def _read(self, data: bytes) -> bool:
        found = False
        for pos, header in iter_headers(data):
            if header.base_offset < self.next_offset:
                continue
            if header.is_control:
                try:
                    for record in records_of(data, pos, header):
                        kind = decode_key(record.key)
                        if kind is not None:
                            found = self._take(kind, record.value, record.offset) or found
                except ApiError as error:
                    # A member that does not know who votes must not take part.
                    raise AssertionError(
                        f"the metadata log cannot be understood at offset {header.base_offset}: {error.message}"
                    ) from error
            self.next_offset = header.next_offset
        return found

    def _take(self, kind: ControlType, value: bytes | None, offset: int) -> bool:
        try:
            if kind is ControlType.KRAFT_VERSION:
                self._versions.add(offset, self._known_version(decode_kraft_version(value), offset))
            elif kind is ControlType.KRAFT_VOTERS:
                self._voters.add(offset, voter_set(decode_voters(value)))
            else:
                return False
        except ApiError as error:
            # A member that does not know who votes must not take part.
            raise AssertionError(f"the metadata log cannot be understood at offset {offset}: {error.message}") from error
        return True

    @staticmethod
    def _known_version(level: int, offset: int) -> int:
        known = f"{KRAFT_VERSION_MIN} to {KRAFT_VERSION_MAX} are known"
        assert KRAFT_VERSION_MIN <= level <= KRAFT_VERSION_MAX, f"the metadata log has kraft.version {level} at offset {offset}; {known}"
        return level

    def _voters_changed(self) -> None:
        last = self._voters.last
        self._last_voters = self.static if last is None else last[1]


def voter_set(records: Sequence[VoterRecord]) -> VoterSet:
    """The voters that a KRAFT_VOTERS record names."""
    return VoterSet(
        Voter(
            key=ReplicaKey.of(record.voter_id, record.directory_id),
            endpoints={name: (host, port) for name, host, port in record.endpoints},
            min_version=record.min_version,
            max_version=record.max_version,
        )
        for record in records
    )


def voters_value(voters: VoterSet) -> bytes:
    """The value of the KRAFT_VOTERS record that names these voters."""
    return encode_voters(
        [
            VoterRecord(
                voter.key.id,
                voter.key.directory_id or ZERO_UUID,
                tuple((name, host, port) for name, (host, port) in voter.endpoints.items()),
                voter.min_version,
                voter.max_version,
            )
            for voter in voters
        ]
    )
