"""What counts as the same log: byte by byte, and record by record where logs are compacted."""

from __future__ import annotations

import pytest

from kafkalab.engine.record.batch import Record, build_batch, stamp
from kafkalab.engine.simulation.committed import CommittedLog, CompactedLog

Put = tuple[int, bytes, bytes | None]


class _Log:
    """A log of batches with one record each."""

    def __init__(self, *puts: Put, start_offset: int = 0) -> None:
        self.log_start_offset = start_offset
        self._batches = [(offset, _batch(offset, key, value)) for offset, key, value in puts]

    def read(self, offset: int, max_bytes: int, *, max_offset: int | None = None, min_one: bool = True) -> bytes:
        return b"".join(data for at, data in self._batches if offset <= at and (max_offset is None or at < max_offset))


def _batch(offset: int, key: bytes, value: bytes | None) -> bytes:
    data = bytearray(build_batch([Record(0, 1_000, key, value)]))
    stamp(data, 0, base_offset=offset, leader_epoch=0)
    return bytes(data)


PUTS: tuple[Put, ...] = ((0, b"a", b"1"), (1, b"b", b"1"), (2, b"a", b"2"), (3, b"b", None))


def test_a_log_that_begins_amid_what_is_committed_is_the_same() -> None:
    committed = CommittedLog()
    assert committed.extend(_Log(*PUTS), 4) is None
    assert committed.differs(_Log(*PUTS[2:], start_offset=2), 0, 4) is None
    assert committed.differs(_Log(PUTS[2], (3, b"b", b"other"), start_offset=2), 0, 4) is not None
    assert [header.base_offset for header in committed.batches(1, 3)] == [1, 2]


@pytest.mark.parametrize(
    ("kept", "keeps_tombstones", "is_right"),
    [
        (PUTS, True, True),
        (PUTS[2:], True, True),
        (PUTS[2:3], True, False),
        (PUTS[2:3], False, True),
        ((PUTS[0], PUTS[3]), True, False),
        ((PUTS[1], PUTS[2]), False, True),
        ((*PUTS[:2], (2, b"a", b"other"), PUTS[3]), True, False),
    ],
)
def test_a_compacted_log_may_lack_what_a_later_record_took_the_place_of(
    kept: tuple[Put, ...], keeps_tombstones: bool, is_right: bool
) -> None:
    committed = CompactedLog(keeps_tombstones=keeps_tombstones)
    assert committed.extend(_Log(*PUTS), 4) is None
    assert (committed.differs(_Log(*kept), 0, 4) is None) == is_right


def test_the_last_batch_that_is_wholly_before_an_offset() -> None:
    committed = CommittedLog()
    assert committed.whole_before(7) == 0
    assert committed.extend(_Log(*PUTS), 4) is None
    assert [committed.whole_before(offset) for offset in (0, 1, 3, 4, 9)] == [0, 1, 3, 4, 4]
