"""One replica's segments as rows: from which offset, how large, how old, and what may happen to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QObject

from kafkalab.engine.telemetry.levels import SegmentFacts
from kafkalab.ui.itemmodels.tables import Column, TableModel
from kafkalab.ui.model.things import Replica
from kafkalab.ui.theme.formats import format_ago, format_bytes, format_date, format_offset


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment with what its row needs to know of its log and of the time."""

    facts: SegmentFacts
    state: str
    age_ms: float  # of its newest record, -1: it is empty

    @property
    def offsets(self) -> int:
        """How many offsets it covers; compaction leaves fewer records than that."""
        return self.facts.end_offset - self.facts.base_offset


ACTIVE: Final = "active"
COMPACTED: Final = "compacted"
PARTLY_COMPACTED: Final = "partly compacted"
DIRTY: Final = "to be compacted"
CLOSED: Final = "closed"


def segment_state(facts: SegmentFacts, first_dirty_offset: int) -> str:
    """In one word what a segment is to retention and compaction."""
    if facts.is_active:
        return ACTIVE
    if first_dirty_offset < 0:
        return CLOSED
    if facts.end_offset <= first_dirty_offset:
        return COMPACTED
    return DIRTY if facts.base_offset >= first_dirty_offset else PARTLY_COMPACTED


def segment_rows(replica: Replica | None, now_ms: float) -> list[SegmentRow]:
    """The rows of a replica, newest first."""
    if replica is None:
        return []
    return [
        SegmentRow(
            facts, segment_state(facts, replica.first_dirty_offset), now_ms - facts.max_timestamp if facts.max_timestamp >= 0 else -1.0
        )
        for facts in reversed(replica.segment_list)
    ]


def _newest(row: SegmentRow) -> str:
    timestamp = row.facts.max_timestamp
    return format_date(timestamp) if timestamp >= 0 else "–"


def _age(row: SegmentRow) -> str:
    # Records may carry a time that is still to come.
    return "–" if row.age_ms < 0 else format_ago(row.age_ms)


SEGMENT_COLUMNS: Final = (
    Column[SegmentRow]("Base offset", lambda row: format_offset(row.facts.base_offset), lambda row: row.facts.base_offset, mono=True),
    Column[SegmentRow](
        "Offsets",
        lambda row: format_offset(row.offsets),
        lambda row: row.offsets,
        mono=True,
        tip="How many offsets the segment covers; after compaction it holds fewer records",
    ),
    Column[SegmentRow]("Size", lambda row: format_bytes(row.facts.size_bytes), lambda row: row.facts.size_bytes, mono=True),
    Column[SegmentRow]("Newest record", _newest, lambda row: row.facts.max_timestamp, mono=True, tip="Retention by time counts from here"),
    Column[SegmentRow]("Age", _age, lambda row: row.age_ms, mono=True),
    Column[SegmentRow]("State", lambda row: row.state),
)


def segment_table(parent: QObject | None = None) -> TableModel[SegmentRow]:
    """An empty table for :func:`segment_rows`."""
    return TableModel(SEGMENT_COLUMNS, lambda row: row.facts.base_offset, lambda row: None, parent)
