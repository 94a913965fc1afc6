"""Who votes, as the log says it: from which offset on, undone by a cut, kept when the head goes."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.raft.metadata_log import values_batch
from kafkalab.engine.raft.voter_history import BOOTSTRAP_OFFSET, VoterHistory, voters_value
from kafkalab.engine.raft.voters import ReplicaKey, Voter, VoterSet
from kafkalab.engine.record.control import ControlType
from kafkalab.engine.record.quorum_records import (
    VoterRecord,
    control_batch,
    decode_kraft_version,
    decode_voters,
    encode_kraft_version,
    encode_voters,
)
from tests.unit.engine.raft.simulation import FakeLog


def voter(node_id: int, disk: int = 0, port: int = 9_093) -> Voter:
    key = ReplicaKey(node_id, uuid.UUID(int=1_000 + 100 * disk + node_id))
    return Voter(key=key, endpoints={"CONTROLLER": ("h", port)}, min_version=0, max_version=1)


def controls(*node_ids: int, level: int | None = 1) -> list[tuple[ControlType, bytes]]:
    version = [] if level is None else [(ControlType.KRAFT_VERSION, encode_kraft_version(level))]
    return [*version, (ControlType.KRAFT_VOTERS, voters_value(VoterSet(map(voter, node_ids))))]


def append(log: FakeLog, *node_ids: int, level: int | None = 1) -> int:
    batch = control_batch(controls(*node_ids, level=level), base_offset=log.log_end_offset, epoch=1, timestamp_ms=1)
    return log.append_as_leader(batch, 1).last_offset


def filled() -> tuple[FakeLog, VoterHistory]:
    """Values at 0, voters 1 to 3 at 1 and 2, a value, voters 1 to 4 at 4, and another value."""
    log, history = FakeLog(), VoterHistory(VoterSet([Voter(key=ReplicaKey(9))]))
    for group in ((1, 2, 3), (1, 2, 3, 4)):
        log.append_as_leader(values_batch([b"x"], base_offset=log.log_end_offset, epoch=1, timestamp_ms=1), 1)
        append(log, *group, level=1 if len(group) == 3 else None)
    log.append_as_leader(values_batch([b"x"], base_offset=log.log_end_offset, epoch=1, timestamp_ms=1), 1)
    assert history.catch_up(log)
    return log, history


def test_the_log_overrules_the_settings() -> None:
    log, history = filled()
    assert history.voters.ids == {1, 2, 3, 4} and history.voters_offset == 4
    assert history.kraft_version == 1
    assert history.next_offset == log.log_end_offset
    assert not history.catch_up(log), "nothing is read twice"
    assert not history.appended(b"", log)


def test_a_cut_takes_back_what_was_said_behind_it() -> None:
    log, history = filled()
    log.truncate_to(4)
    assert history.truncate_from(4) and history.voters.ids == {1, 2, 3}
    log.truncate_to(1)
    assert history.truncate_from(1) and history.voters.ids == {9} and history.kraft_version == 0
    append(log, 5, 6, 7)
    assert history.catch_up(log) and history.voters.ids == {5, 6, 7}


def test_when_the_head_goes_the_last_word_stays() -> None:
    _, history = filled()
    history.forget_before(3)
    assert history.kraft_version_at(3) == 1
    assert history.controls_at(3) == controls(1, 2, 3), "a snapshot there names those who voted then"
    assert history.controls_at(5) == controls(1, 2, 3, 4)
    assert not history.truncate_from(5) and history.voters.ids == {1, 2, 3, 4}


def test_a_snapshot_begins_it_anew() -> None:
    log, history = filled()
    history.load_snapshot(controls(7), 0)
    assert history.voters.ids == {7} and history.voters_offset == BOOTSTRAP_OFFSET
    history.load_snapshot((), 40)
    assert history.voters.ids == {9} and history.next_offset == 40
    assert history.controls_at(39) == [], "static voters are nobody's affair but the settings'"
    del log


def test_who_may_vote_by_what_may_be_committed() -> None:
    _, history = filled()
    assert not history.may_be_voter(ReplicaKey(9), 3), "the settings are history"
    assert history.may_be_voter(ReplicaKey(9), -1), "unless nothing is known to be committed"
    log, history = FakeLog(), VoterHistory(VoterSet())
    append(log, 1, 2)
    append(log, 2, level=None)
    history.catch_up(log)
    assert history.may_be_voter(voter(1).key, -1) and history.may_be_voter(voter(1).key, 2), "its removal may come to nothing"
    assert not history.may_be_voter(voter(1).key, 3), "its removal is committed"
    assert not history.may_be_voter(voter(1, disk=1).key, -1)


def test_a_level_from_the_future_stops_the_member() -> None:
    log, history = FakeLog(), VoterHistory(VoterSet())
    append(log, 1, level=2)
    with pytest.raises(AssertionError, match=r"kraft\.version 2 at offset 0; 0 to 1 are known"):
        history.catch_up(log)


def test_voters_are_compared_with_their_disks() -> None:
    voters = VoterSet([voter(1), voter(2)])
    assert voters == VoterSet([voter(2), voter(1)]) and voters != VoterSet([voter(1), voter(2, disk=1)])
    assert voters.with_voter(voter(1, disk=1)) is None, "an id votes once"
    assert voters.without_voter(voter(1, disk=1).key) is None
    assert voters.without_voter(ReplicaKey(1)) is None
    one = voters.without_voter(voter(1).key)
    assert one is not None and one.ids == {2} and one.without_voter(voter(2).key) is None, "somebody votes"
    assert voters.needs_change(voter(1, port=1)) and not voters.needs_change(voter(1)) and not voters.needs_change(voter(1, disk=1))
    moved = voters.with_changed(voter(1, port=1))
    assert moved is not None and moved.address(1, "CONTROLLER") == ("h", 1)
    assert voters.with_changed(voter(1, disk=1)) is None
    assert voters.with_changed(voter(1, disk=1), ignore_directory=True) is not None


def test_the_records_are_kafkas() -> None:
    # As Kafka 4.3.1 wrote them when it formatted a directory with --standalone.
    value = bytes.fromhex("00000200000001d4899d1ac7174ff58460afb9236c73f1020b434f4e54524f4c4c45520a3132372e302e302e314a950000000001000000")
    (record,) = decode_voters(value)
    assert record == VoterRecord(1, uuid.UUID("d4899d1a-c717-4ff5-8460-afb9236c73f1"), (("CONTROLLER", "127.0.0.1", 19_093),), 0, 1)
    assert encode_voters([record]) == value
    assert encode_kraft_version(1) == bytes.fromhex("0000000100")


@given(st.binary(max_size=200))
def test_any_bytes_are_voters_or_refused(data: bytes) -> None:
    for decode in (decode_voters, decode_kraft_version):
        try:
            decode(data)
        except ApiError:
            continue


@given(
    st.lists(
        st.builds(
            VoterRecord,
            st.integers(0, 2**31 - 1),
            st.uuids(),
            st.lists(st.tuples(st.text(max_size=5), st.text(max_size=200), st.integers(0, 65_535)), max_size=3).map(tuple),
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        max_size=4,
    )
)
def test_voters_are_read_as_they_were_written(voters: list[VoterRecord]) -> None:
    assert decode_voters(encode_voters(voters)) == voters
