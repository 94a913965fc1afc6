"""Leadership over time: who led each partition and the quorum, and for how long nobody did.

A gap begins when the leader's node goes away, not when somebody notices it, and ends when a new
leader is committed: that is the time in which a client's write could not succeed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import Band, Mark
from kafkalab.ui.theme.formats import format_ms, plural

BANDS_PER_ROW_MAX: Final = 128
MARKS_MAX: Final = 256
ELECTIONS_WINDOW_MS: Final = 1_000.0
"""Elections this soon after a fencing are told on its mark."""
FIRST_WRITE_WINDOW_MS: Final = 10_000.0


class FailoverHistory:
    """Bands and marks, fed in the order of the happenings."""

    def __init__(self) -> None:
        self.bands: dict[TopicPartition, list[Band]] = {}
        self.quorum: list[Band] = []
        self.marks: list[Mark] = []
        self._fencing: Mark | None = None
        self._fencing_words = ""
        self._elections = 0
        self._first_write_told = False

    # --- bands ---------------------------------------------------------------------------------

    def lead(self, tp: TopicPartition, leader: int, epoch: int, at_ms: float) -> float:
        """``leader`` leads from now on (-1: nobody). Returns the length of the gap this ended, -1 without one."""
        row = self.bands.get(tp)
        if row is None:
            row = self.bands[tp] = []
        return _extend(row, leader, epoch, at_ms)

    def lose(self, tp: TopicPartition, at_ms: float) -> None:
        """The leader's node went away."""
        row = self.bands.get(tp)
        if row and not row[-1].is_gap:
            _extend(row, -1, row[-1].epoch, at_ms)

    def forget(self, tp: TopicPartition) -> None:
        """The partition was deleted."""
        self.bands.pop(tp, None)

    def lead_quorum(self, leader: int, epoch: int, at_ms: float) -> float:
        """The quorum's leader from now on (-1: none). Returns the length of the gap this ended, -1 without one."""
        return _extend(self.quorum, leader, epoch, at_ms)

    def longest_gap(
        self, since_ms: float, now_ms: float, among: Iterable[TopicPartition] | None = None
    ) -> tuple[float, TopicPartition | None]:
        """The longest time that a partition had no leader, of gaps that touch the span since then."""
        longest, where = 0.0, None
        for tp in self.bands if among is None else among:
            row = self.bands.get(tp, [])
            if len(row) == 1 and not row[0].is_gap:
                continue
            for band in reversed(row):
                if 0 <= band.end_ms < since_ms:
                    break
                if band.start_ms <= now_ms and band.is_gap and band.length_ms(now_ms) > longest:
                    longest, where = band.length_ms(now_ms), tp
        return longest, where

    def longest_quorum_gap(self, since_ms: float, now_ms: float) -> float:
        """The longest time that no controller led, of gaps that touch the span since then; 0 without one."""
        gaps = (band for band in self.quorum if band.is_gap and band.start_ms <= now_ms and not 0 <= band.end_ms < since_ms)
        return max((band.length_ms(now_ms) for band in gaps), default=0.0)

    # --- marks ---------------------------------------------------------------------------------

    def mark(self, at_ms: float, label: str, tone: Tone, link: Link) -> Mark:
        """A moment across all rows."""
        mark = Mark(at_ms, label, tone, link)
        self.marks.append(mark)
        if len(self.marks) > MARKS_MAX:
            del self.marks[0]
        return mark

    def mark_fenced(self, at_ms: float, words: str, link: Link) -> None:
        """A fencing, whose elections and first acknowledged write will be told on the same mark."""
        self._fencing = self.mark(at_ms, words, Tone.WARN, link)
        self._fencing_words = words
        self._elections = 0
        self._first_write_told = False

    def count_election(self, at_ms: float) -> bool:
        """An election: told on the latest fencing's mark when it followed from it."""
        mark = self._fencing
        if mark is None or not 0 <= at_ms - mark.at_ms <= ELECTIONS_WINDOW_MS:
            return False
        self._elections += 1
        mark.label = f"{self._fencing_words}, {plural(self._elections, 'election')}"
        return True

    def count_first_write(self, at_ms: float) -> bool:
        """A new leader's first acknowledged write: only the first after a fencing is told."""
        mark = self._fencing
        if mark is None or self._first_write_told or not self._elections or not 0 <= at_ms - mark.at_ms <= FIRST_WRITE_WINDOW_MS:
            return False
        self._first_write_told = True
        mark.label += f", first write acknowledged +{format_ms(at_ms - mark.at_ms)}"
        return True


def _extend(row: list[Band], leader: int, epoch: int, at_ms: float) -> float:
    if not row:
        row.append(Band(leader, epoch, at_ms))
        return -1.0
    last = row[-1]
    if last.leader == leader:
        # The same leader in a new epoch goes on; a gap keeps its beginning.
        last.epoch = epoch
        return -1.0
    last.end_ms = max(at_ms, last.start_ms)
    row.append(Band(leader, epoch, last.end_ms))
    if len(row) > BANDS_PER_ROW_MAX:
        del row[0]
    return last.end_ms - last.start_ms if last.is_gap else -1.0
