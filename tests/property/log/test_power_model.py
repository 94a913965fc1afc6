"""The log against its model on a disk that fills, and whose power goes at any moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.storage import Done
from tests.property.log.test_log_model import LogMachine


class PowerMachine(LogMachine):
    """What the disk has not yet been told may be lost; what it was told may not."""

    def __init__(self) -> None:
        super().__init__()
        self.put_off: list[tuple[Callable[[], None], Done]] = []
        self.storage = self.power_up()

    def power_up(self) -> FaultyStorage:
        return FaultyStorage(open_files_max=4, background=lambda work, done: self.put_off.append((work, done)))

    def forget_put_off(self) -> None:
        # Each has a descriptor of its own to close.
        for work, _ in self.put_off:
            work()
        self.put_off.clear()

    @rule(count=st.integers(0, 3))
    def disk_catches_up(self, count: int) -> None:
        for _ in range(min(count, len(self.put_off))):
            work, done = self.put_off.pop(0)
            work()
            done(None)

    @rule(torn=st.sampled_from([0, 0, 1, 40, 61, 90, 400]), late=st.integers(0, 30))
    def lose_power(self, torn: int, late: int) -> None:
        synced = self.log.recovery_point
        self.log.abandon()
        assert isinstance(self.storage, FaultyStorage)
        self.storage.lose_unsynced(torn)
        self.forget_put_off()
        self.storage = self.power_up()
        # The checkpoint may be older than what it tells of.
        ends = [self.batch_end(first) for first in self.batches]
        older = max((end for end in ends if end <= synced - late), default=0)
        self.open(clean=False, recovery_point=older)
        end = self.log.log_end_offset
        assert synced <= end <= self.end or end == self.start
        self.forget_from(end)

    @rule(count=st.integers(1, 4), free=st.integers(0, 300))
    def fill_up(self, count: int, free: int) -> None:
        """The append fails, and the disk's error sends the log's directory out of use: it is opened again when there is space."""
        assert isinstance(self.storage, FaultyStorage)
        self.storage.set_faults([DiskFault(DiskFaultKind.FULL, str(self.folder), free)])
        was_refused = False
        try:
            self.lead(count, 0)
        except ApiError as error:
            assert error.error is Errors.KAFKA_STORAGE_ERROR
            was_refused = True
        recovery_point = self.log.recovery_point
        self.log.abandon()
        self.forget_put_off()
        self.storage.set_faults([])
        self.open(clean=False, recovery_point=recovery_point)
        if was_refused and self.log.log_end_offset == self.end + count:
            # The batch was written and what belongs to it was not: nobody was promised anything, and it may stay.
            self.note(count, self.end)
            self.sequence += count

    def forget_from(self, end: int) -> None:
        self.end = end
        self.start = self.log.log_start_offset
        self.batches = [first for first in self.batches if first < end]
        self.records = [record for record in self.records if record[0] < end]
        self.epochs = [entry for entry in self.epochs if entry[1] < end]
        entry = self.log.producer_state.entries.get(1)
        self.sequence = entry.last_sequence + 1 if entry is not None and entry.batches else 0
        self.epoch += 1

    def teardown(self) -> None:
        self.forget_put_off()
        super().teardown()


PowerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.mark.timeout(300)
class TestPowerModel(PowerMachine.TestCase):  # type: ignore[misc]
    """Run by pytest as a test case."""
