"""What readers of committed records see, and where a consumer is sent (KIP-98, KIP-392)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.protocol.metadata_records import BrokerRegistrationChangeRecord
from kafkalab.engine.record.batch import Record, build_batch, iter_records
from kafkalab.engine.record.control import ControlType, encode_end_transaction_marker, encode_key
from kafkalab.engine.replica.offsets import EARLIEST, EARLIEST_LOCAL, EARLIEST_PENDING_UPLOAD, LATEST, LATEST_TIERED, MAX_TIMESTAMP
from kafkalab.engine.replica.selector import RACK_AWARE_SELECTOR
from tests.unit.engine.replica.world import Answer, World

COMMITTED = {"isolation_level": 1}


class Transactions:
    """Writes of transactional producers, as their leader would take them from a coordinator's hands."""

    def __init__(self, world: World, node_id: int, topic: str) -> None:
        self._world = world
        self._partition = world.brokers[node_id].partition((topic, 0))
        self._sequences: dict[int, int] = {}

    def write(self, producer_id: int, value: bytes, timestamp: int = 1_000) -> None:
        sequence = self._sequences.get(producer_id, 0)
        self._sequences[producer_id] = sequence + 1
        self._append(
            build_batch(
                [Record(0, timestamp, None, value)],
                producer_id=producer_id,
                producer_epoch=0,
                base_sequence=sequence,
                transactional=True,
            )
        )

    def end(self, producer_id: int, control_type: ControlType) -> None:
        marker = Record(0, 1, encode_key(control_type), encode_end_transaction_marker(0))
        self._append(build_batch([marker], producer_id=producer_id, producer_epoch=0, control=True, transactional=True))

    def _append(self, data: bytes) -> None:
        self._partition.append_as_leader(data, 1, self._world.clock.now_ms(), client=False)


def offsets(answer: Answer) -> list[int]:
    return [record.offset for record in iter_records(answer.first.records)]


def aborted(answer: Answer) -> list[tuple[int, int]]:
    return [(one.producer_id, one.first_offset) for one in answer.first.aborted_transactions]


@pytest.fixture
def solo(world: World) -> World:
    world.create("solo", (1,))
    world.settle()
    return world


def test_committed_records_end_where_the_oldest_open_transaction_begins(solo: World) -> None:
    transactions = Transactions(solo, 1, "solo")
    solo.produce(1, "solo", b"plain")  # 0
    transactions.write(7, b"a")  # 1
    solo.produce(1, "solo", b"plain")  # 2
    answer = solo.fetch(1, "solo", 0, **COMMITTED)
    assert (answer.first.high_watermark, answer.first.last_stable_offset) == (3, 1)
    assert offsets(answer) == [0] and aborted(answer) == []
    answer = solo.fetch(1, "solo", 0)
    assert (answer.first.high_watermark, answer.first.last_stable_offset, answer.first.aborted_transactions) == (3, 1, None)
    assert offsets(answer) == [0, 1, 2]


@pytest.mark.parametrize("version", range(4, 19))
def test_aborted_transactions_are_told_in_every_version(solo: World, version: int) -> None:
    transactions = Transactions(solo, 1, "solo")
    transactions.write(7, b"a")  # 0
    transactions.write(8, b"b")  # 1
    transactions.end(7, ControlType.ABORT)  # 2
    transactions.end(8, ControlType.COMMIT)  # 3
    answer = solo.fetch(1, "solo", 0, version=version, **COMMITTED)
    assert offsets(answer) == [0, 1, 2, 3] and aborted(answer) == [(7, 0)]
    assert aborted(solo.fetch(1, "solo", 3, version=version, **COMMITTED)) == []
    assert solo.fetch(1, "solo", 0, version=version).first.aborted_transactions is None


def test_a_reader_of_committed_records_waits_for_the_end_of_the_transaction(solo: World) -> None:
    transactions = Transactions(solo, 1, "solo")
    transactions.write(7, b"a")
    waiting = solo.fetch(1, "solo", 0, **COMMITTED)
    assert not waiting.is_settled
    transactions.write(7, b"b")
    assert not waiting.is_settled
    transactions.end(7, ControlType.COMMIT)
    assert waiting.is_settled
    assert offsets(waiting) == [0, 1, 2]


def test_a_marker_counts_once_it_is_committed(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    transactions = Transactions(world, 1, "orders")
    transactions.write(7, b"a")
    world.settle()
    world.sever(1, 2)
    transactions.end(7, ControlType.ABORT)
    answer = world.fetch(1, "orders", 0, **COMMITTED, max_wait=0)
    assert (answer.first.high_watermark, answer.first.last_stable_offset) == (1, 0)
    world.mend()
    world.settle(2_000)
    answer = world.fetch(1, "orders", 0, **COMMITTED)
    assert (answer.first.high_watermark, answer.first.last_stable_offset) == (2, 2)
    assert aborted(answer) == [(7, 0)]
    # A follower knows the same, from its own copy of the log.
    world.settle(1_000)
    answer = world.fetch(2, "orders", 0, **COMMITTED)
    assert (answer.first.last_stable_offset, aborted(answer)) == (2, [(7, 0)])


def test_list_offsets_by_isolation(solo: World) -> None:
    transactions = Transactions(solo, 1, "solo")
    transactions.write(6, b"a", timestamp=1_000)  # 0
    transactions.end(6, ControlType.COMMIT)  # 1
    transactions.write(7, b"b", timestamp=3_000)  # 2
    transactions.write(7, b"c", timestamp=2_000)  # 3

    def found(timestamp: int, isolation_level: int = 0) -> tuple[int, int]:
        body = {"isolation_level": isolation_level}
        answer = solo.list_offsets(1, "solo", timestamp, request=body).first
        return answer.offset, answer.timestamp

    assert [found(LATEST, level) for level in (0, 1)] == [(4, -1), (2, -1)]
    assert [found(EARLIEST, level) for level in (0, 1)] == [(0, -1), (0, -1)]
    assert [found(EARLIEST_LOCAL, level) for level in (0, 1)] == [(0, -1), (0, -1)]
    assert [found(2_000, level) for level in (0, 1)] == [(2, 3_000), (-1, -1)]
    assert [found(1_000, level) for level in (0, 1)] == [(0, 1_000), (0, 1_000)]
    assert [found(MAX_TIMESTAMP, level) for level in (0, 1)] == [(2, 3_000), (-1, -1)]
    assert found(3_001) == (-1, -1)
    assert found(LATEST_TIERED) == found(EARLIEST_PENDING_UPLOAD) == (-1, -1)


def test_whoever_debugs_sees_up_to_the_log_end(solo: World) -> None:
    Transactions(solo, 1, "solo").write(7, b"a")
    answer = solo.list_offsets(1, "solo", LATEST, request={"isolation_level": 1, "replica_id": -2}).first
    assert (answer.error_code, answer.offset) == (0, 1)


def test_the_start_of_a_log_without_records_is_of_the_epoch_of_its_leader(world: World) -> None:
    world.create("orders", (1, 2))
    world.settle()
    world.elect("orders", 0, 2)
    world.settle()
    answer = world.list_offsets(2, "orders", EARLIEST).first
    assert (answer.offset, answer.leader_epoch) == (0, 1)
    world.produce(2, "orders", b"a")
    world.settle(1_000)
    world.elect("orders", 0, 1)
    world.settle()
    assert world.list_offsets(1, "orders", EARLIEST).first.leader_epoch == 1, "that of the first record"


def test_an_isolation_level_that_nobody_knows_is_refused(solo: World) -> None:
    with pytest.raises(ApiError, match="Unknown isolation level 2"):
        solo.list_offsets(1, "solo", LATEST, request={"isolation_level": 2})
    with pytest.raises(ApiError, match="Unknown isolation level 2"):
        solo.fetch(1, "solo", 0, isolation_level=2)


# --- racks -------------------------------------------------------------------------------------


@pytest.fixture
def racks(make_world: Callable[..., World]) -> World:
    world = make_world(config={"replica.selector.class": RACK_AWARE_SELECTOR}, racks={1: "north", 2: "south", 3: "south"})
    world.create("orders", (1, 2, 3))
    world.settle()
    world.produce(1, "orders", b"a")
    world.settle(1_000)
    return world


def preferred(world: World, rack: str, offset: int = 0, **more: int) -> int:
    answer = world.fetch(1, "orders", offset, rack_id=rack, **more)
    if answer.first.preferred_read_replica >= 0:
        assert answer.first.records == b"" and answer.first.high_watermark == 1
    return int(answer.first.preferred_read_replica)


def test_a_consumer_is_sent_to_the_replica_in_its_rack(racks: World) -> None:
    # Either will do: whichever was caught up last.
    assert preferred(racks, "south") in (2, 3)
    # Also when there is nothing to read yet: it waits there, not here.
    assert preferred(racks, "south", offset=1) in (2, 3)
    answer = racks.fetch(3, "orders", 0, rack_id="south")
    assert offsets(answer) == [0] and answer.first.preferred_read_replica == -1


@pytest.mark.parametrize("rack", ["", "north", "west"])
def test_the_leader_serves_its_own_rack_and_those_without_a_replica(racks: World, rack: str) -> None:
    assert preferred(racks, rack) == -1


def test_versions_before_11_and_followers_are_never_sent_away(racks: World) -> None:
    assert offsets(racks.fetch(1, "orders", 0, version=10, rack_id="south")) == [0]
    answer = racks.fetch(1, "orders", 0, rack_id="south", replica_state={"replica_id": 2, "replica_epoch": racks.brokers[2].epoch})
    assert answer.error == Errors.NONE and answer.first.preferred_read_replica == -1


def test_nobody_is_sent_to_a_replica_that_lacks_the_offset_or_the_isr(racks: World) -> None:
    racks.sever(1, 3)
    racks.produce(1, "orders", b"b", acks=1)
    racks.settle(5)
    # Replica 2 has the record, 3 has not.
    assert racks.brokers[1].partition(("orders", 0)).remotes[2].log_end_offset == 2
    answer = racks.fetch(1, "orders", 2, rack_id="south")
    assert answer.first.preferred_read_replica == 2
    racks.commit(BrokerRegistrationChangeRecord(broker_id=2, broker_epoch=racks.brokers[2].epoch, fenced=1))
    racks.settle(20)
    assert not racks.fetch(1, "orders", 2, rack_id="south").is_settled


def test_without_the_selector_everybody_reads_from_the_leader(make_world: Callable[..., World]) -> None:
    world = make_world(racks={1: "north", 2: "south", 3: "south"})
    world.create("orders", (1, 2, 3))
    world.settle()
    world.produce(1, "orders", b"a")
    world.settle(1_000)
    assert offsets(world.fetch(1, "orders", 0, rack_id="south")) == [0]


def test_a_session_tells_of_the_replica_once_more_when_asked_again(racks: World) -> None:
    first = racks.fetch(1, "orders", 0, rack_id="south", session_epoch=0)
    assert first.first.preferred_read_replica in (2, 3)
    body = {"session_id": first.body.session_id, "session_epoch": 1, "topics": (), "rack_id": "south"}
    again = racks.fetch(1, "orders", 0, **body)
    assert again.first.preferred_read_replica in (2, 3)
