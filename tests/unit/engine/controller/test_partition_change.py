"""Who leads, who is eligible, and when a reassignment is done: as functions of a partition and its circumstances."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from random import Random
from typing import Any

import pytest

from kafkalab.engine.controller.partition_change import Circumstances, Election, Target, completed, election_kind, partition_change
from kafkalab.engine.metadata.image import PartitionRegistration
from kafkalab.engine.protocol.metadata_records import LEADER_UNCHANGED, NO_LEADER, PartitionChangeRecord

TOPIC_ID = uuid.UUID(int=1_000)
DIRECTORY = uuid.UUID(int=77)


def registration(**changes: Any) -> PartitionRegistration:
    made = PartitionRegistration(replicas=(1, 2, 3), isr=(1, 2, 3), leader=1, leader_epoch=4, partition_epoch=9)
    return made._replace(**changes)


def change(
    partition: PartitionRegistration,
    *,
    alive: Collection[int] = (1, 2, 3, 4, 5),
    min_isr: int = 2,
    elr: bool = True,
    election: Election = Election.ONLINE,
    **target: Any,
) -> PartitionChangeRecord | None:
    given = Circumstances(
        is_acceptable=lambda broker_id: broker_id in alive,
        min_isr=min_isr,
        elr_enabled=elr,
        directory_of_new=lambda broker_id: uuid.UUID(int=broker_id),
    )
    return partition_change(TOPIC_ID, 0, partition, given, Target(**target), election)


def changed(partition: PartitionRegistration, **how: Any) -> PartitionRegistration:
    record = change(partition, **how)
    assert record is not None
    return partition.changed_by(record)


def test_a_partition_that_is_well_is_left_alone() -> None:
    assert change(registration()) is None
    assert change(registration(), election=Election.PREFERRED) is None
    assert change(registration(directories=(DIRECTORY,) * 3)) is None


def test_the_isr_comes_first() -> None:
    after = changed(registration(), alive=(2, 3), isr=(2, 3))
    assert (after.leader, after.isr, after.leader_epoch, after.partition_epoch) == (2, (2, 3), 5, 10)
    assert after.eligible_leader_replicas == () == after.last_known_elr


def test_who_leaves_an_isr_below_its_minimum_stays_eligible() -> None:
    """KIP-966, the example of its motivation: no record is committed while the ISR is too small."""
    one = changed(registration(), alive=(2, 3), isr=(2, 3))
    two = changed(one, alive=(3,), isr=(3,))
    assert (two.leader, two.isr, two.eligible_leader_replicas) == (3, (3,), (2,))
    three = changed(two, alive=(), isr=())
    assert (three.leader, three.isr, three.eligible_leader_replicas, three.last_known_elr) == (NO_LEADER, (), (2, 3), (3,))
    # Broker 1 left while the ISR was large enough: it may lack records, and waits.
    assert change(three, alive=(1,)) is None
    back = changed(three, alive=(1, 2))
    assert (back.leader, back.isr, back.eligible_leader_replicas, back.last_known_elr) == (2, (2,), (3,), ())
    assert back.leader_recovery_state == 0, "nothing is lost"
    full = changed(back, isr=(2, 1))
    assert (full.isr, full.eligible_leader_replicas) == ((2, 1), ()), "an ISR of the minimum needs nobody else"


def test_eligible_leaders_do_not_count_while_there_is_an_isr() -> None:
    held = registration(isr=(1,), eligible_leader_replicas=(2,))
    after = changed(held, alive=(2,))
    assert (after.leader, after.isr, after.eligible_leader_replicas) == (NO_LEADER, (1,), (2,))


def test_an_unclean_stop_ends_eligibility() -> None:
    waiting = registration(isr=(), leader=NO_LEADER, eligible_leader_replicas=(2, 3), last_known_elr=(3,))
    without = changed(waiting, alive=(), isr=(), lost_by=2)
    assert (without.eligible_leader_replicas, without.leader, without.last_known_elr) == ((3,), NO_LEADER, (3,))
    nobody = changed(without, alive=(), isr=(), lost_by=3)
    assert nobody.eligible_leader_replicas == ()
    assert change(nobody, alive=(1, 2)) is None
    last = changed(nobody, alive=(1, 2, 3))
    assert (last.leader, last.isr, last.leader_recovery_state, last.last_known_elr) == (3, (3,), 1, ())


def test_the_last_known_leader_must_be_the_only_one_known_and_a_replica() -> None:
    lost = registration(isr=(), leader=NO_LEADER, last_known_elr=(2, 3))
    assert change(lost) is None
    assert change(lost._replace(last_known_elr=(9,)), alive=(9,)) is None
    assert change(lost._replace(last_known_elr=(2,)), elr=False) is None
    assert changed(lost._replace(last_known_elr=(2,))).leader == 2


def test_an_unclean_election_forgets_who_was_eligible() -> None:
    waiting = registration(isr=(), leader=NO_LEADER, eligible_leader_replicas=(2, 3), last_known_elr=(3,))
    assert change(waiting, alive=(1,)) is None
    after = changed(waiting, alive=(1,), election=Election.UNCLEAN)
    assert (after.leader, after.isr, after.leader_recovery_state) == (1, (1,), 1)
    assert (after.eligible_leader_replicas, after.last_known_elr) == ((), ())
    clean = changed(waiting, alive=(1, 3), election=Election.UNCLEAN)
    assert (clean.leader, clean.leader_recovery_state, clean.eligible_leader_replicas) == (3, 0, (2,))


def test_without_the_feature_the_last_member_stays_in_the_isr() -> None:
    last = registration(isr=(2,), leader=2)
    after = changed(last, alive=(1, 3), isr=(), elr=False)
    assert (after.leader, after.isr, after.eligible_leader_replicas, after.last_known_elr) == (NO_LEADER, (2,), (), ())
    # What a cluster that had the feature left behind goes with the next change.
    kept = registration(isr=(1,), eligible_leader_replicas=(2,))
    assert changed(kept, elr=False).eligible_leader_replicas == ()


def test_a_preferred_election_moves_a_leader_that_may_stay() -> None:
    moved = registration(leader=2)
    assert change(moved) is None
    assert changed(moved, election=Election.PREFERRED).leader == 1
    assert change(registration(leader=2, isr=(2, 3)), election=Election.PREFERRED) is None


def test_a_reassignment_is_done_with_the_isr_that_has_all_new_replicas() -> None:
    under_way = registration(replicas=(4, 5, 1, 2, 3), adding_replicas=(4, 5), removing_replicas=(1, 2, 3))
    half = changed(under_way, isr=(1, 2, 3, 4))
    assert (half.replicas, half.leader, half.leader_epoch) == (under_way.replicas, 1, 4)
    done = changed(half, isr=(1, 2, 3, 4, 5))
    assert (done.replicas, done.isr, done.adding_replicas, done.removing_replicas) == ((4, 5), (4, 5), (), ())
    assert (done.leader, done.leader_epoch) == (4, 5)


def test_taking_a_replica_away_raises_the_leader_epoch_even_where_the_leader_stays() -> None:
    after = changed(registration(), replicas=(1, 2, 3), removing=(3,))
    assert (after.replicas, after.isr, after.leader, after.leader_epoch) == ((1, 2), (1, 2), 1, 5)
    reordered = changed(registration(), replicas=(3, 2, 1))
    assert (reordered.replicas, reordered.leader, reordered.leader_epoch) == ((3, 2, 1), 1, 4)


@pytest.mark.parametrize(
    ("replicas", "isr", "removing", "adding", "expected"),
    [
        ((1, 2, 3), (1, 2, 3), (), (), None),
        ((4, 1), (1,), (1,), (4,), None),
        ((4, 1), (1, 4), (1,), (4,), ((4,), (4,))),
        ((1, 2, 3), (2, 3), (2, 3), (), None),  # nobody in sync would be left
        ((2, 3, 4, 5, 0, 1), (0, 1, 5), (0, 1), (5,), None),  # fewer than before, and not all of them in sync
        ((2, 3, 4, 5, 0, 1), (0, 1, 5, 2, 3, 4), (0, 1), (5,), ((2, 3, 4, 5), (5, 2, 3, 4))),
        ((1, 2, 3, 4), (1,), (), (4,), None),
        ((1, 2, 3, 4), (1, 4), (), (4,), ((1, 2, 3, 4), (1, 4))),
    ],
)
def test_when_a_reassignment_is_done(
    replicas: tuple[int, ...], isr: tuple[int, ...], removing: tuple[int, ...], adding: tuple[int, ...], expected: object
) -> None:
    assert completed(replicas, isr, removing, adding) == expected


def test_directories_go_with_their_replicas() -> None:
    partition = registration(directories=(uuid.UUID(int=11), uuid.UUID(int=12), uuid.UUID(int=13)))
    record = change(partition, replicas=(3, 4, 1, 2), removing=(1, 2), adding=(4,))
    assert record is not None
    assert record.directories == (uuid.UUID(int=13), uuid.UUID(int=4), uuid.UUID(int=11), uuid.UUID(int=12))
    record = change(partition, directories={2: DIRECTORY})
    assert record is not None and record.directories == (uuid.UUID(int=11), DIRECTORY, uuid.UUID(int=13))
    assert record.leader == LEADER_UNCHANGED


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({}, {}, ""),
        ({}, {"leader": 2, "isr": (2, 3)}, "isr"),
        ({"leader": 2}, {"leader": 1}, "preferred"),
        ({}, {"leader": -1, "isr": ()}, "none"),
        ({"leader": -1, "isr": (), "eligible_leader_replicas": (2, 3)}, {"leader": 2, "isr": (2,)}, "elr"),
        ({"leader": -1, "isr": (), "last_known_elr": (2,)}, {"leader": 2, "isr": (2,)}, "last known leader"),
        ({"leader": -1, "isr": (1,)}, {"leader": 2, "isr": (2,)}, "unclean"),
    ],
)
def test_the_kind_of_an_election(old: dict[str, Any], new: dict[str, Any], kind: str) -> None:
    assert election_kind(registration(**old), registration(**new)) == kind


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("elr", [True, False])
def test_what_holds_of_a_partition_whatever_happens_to_its_brokers(seed: int, elr: bool) -> None:
    rng = Random(seed)
    partition = registration()
    alive = {1, 2, 3, 4, 5}
    for _ in range(300):
        broker_id = rng.randint(1, 5)
        target: dict[str, Any] = {}
        kind = rng.randrange(5)
        if kind == 0 and broker_id in alive:
            alive.discard(broker_id)
            target = {"isr": tuple(member for member in partition.isr if member != broker_id)}
        elif kind == 1 and broker_id not in alive:
            lost = {"lost_by": broker_id} if elr and rng.random() < 0.5 else {}
            left = tuple(member for member in partition.isr if member != broker_id)
            record = change(partition, alive=alive, elr=elr, isr=left, **lost)
            partition = partition if record is None else partition.changed_by(record)
            alive.add(broker_id)
        elif kind == 2 and partition.leader != NO_LEADER:
            in_sync = {partition.leader, *(replica for replica in partition.replicas if replica in alive and rng.random() < 0.7)}
            target = {"isr": tuple(replica for replica in partition.replicas if replica in in_sync), "recovery_state": 0}
        elif kind == 3 and rng.random() < 0.3:
            wanted = tuple(rng.sample((1, 2, 3, 4, 5), 3))
            removing = tuple(sorted(set(partition.replicas) - set(wanted)))
            adding = tuple(sorted(set(wanted) - (set(partition.replicas) - set(partition.adding_replicas))))
            target = {"replicas": wanted + removing, "removing": removing, "adding": adding}
        record = change(partition, alive=alive, elr=elr, **target)
        before = partition
        if record is not None:
            partition = partition.changed_by(record)
        isr, eligible, replicas = set(partition.isr), set(partition.eligible_leader_replicas), set(partition.replicas)
        assert isr | eligible <= replicas and not isr & eligible, partition
        assert isr or elr, partition
        assert not (len(isr) >= 2 and eligible), partition
        if partition.leader == NO_LEADER:
            assert not alive & (isr or eligible), partition
        else:
            assert partition.leader in isr and partition.leader in alive, partition
            if partition.leader != before.leader and partition.leader_recovery_state == 0 and elr:
                assert partition.leader in {*before.isr, *before.eligible_leader_replicas, *partition.isr}, (before, partition)
        assert set(partition.adding_replicas) | set(partition.removing_replicas) <= replicas, partition
