"""What becomes of a partition, beside Apache Kafka's own controller: thousands of cases, the same answer to each.

Three things are ours. A replica that a reassignment takes away is no eligible leader any more (Kafka's
controller leaves it in the list, where nobody reads it); the last known leader must still be a replica
to lead again; and nobody (-1) is not written down as the last known leader, as Kafka's controller does
where a partition without a leader loses a replica.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import pytest

from kafkalab.engine.controller.partition_change import Circumstances, Election, Target, partition_change
from kafkalab.engine.metadata.image import PartitionRegistration
from kafkalab.engine.protocol.metadata_records import DIRECTORY_UNASSIGNED, NO_LEADER
from tests.support import apache_kafka

CASES: Final = 20_000
SEED: Final = 966
BROKERS: Final = (1, 2, 3, 4, 5, 6)

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(180),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A partition, its circumstances, and what it is to become."""

    partition: PartitionRegistration
    alive: tuple[int, ...]
    min_isr: int
    elr_enabled: bool
    election: Election
    target: Target

    def line(self) -> str:
        now, target = self.partition, self.target
        fields = [
            text(now.replicas),
            text(now.isr),
            text(now.removing_replicas),
            text(now.adding_replicas),
            text(now.eligible_leader_replicas),
            text(now.last_known_elr),
            str(now.leader),
            str(now.leader_recovery_state),
            str(self.min_isr),
            str(self.elr_enabled).lower(),
            self.election.name,
            text(self.alive),
            *("same" if ids is None else text(ids) for ids in (target.isr, target.replicas, target.removing, target.adding)),
            "same" if target.recovery_state is None else str(target.recovery_state),
            text(() if target.lost_by == NO_LEADER else (target.lost_by,)),
        ]
        return " ".join(fields)

    def answer(self) -> str:
        given = Circumstances(
            is_acceptable=lambda broker_id: broker_id in self.alive,
            min_isr=self.min_isr,
            elr_enabled=self.elr_enabled,
            directory_of_new=lambda _: DIRECTORY_UNASSIGNED,
        )
        record = partition_change(uuid.UUID(int=1), 0, self.partition, given, self.target, self.election)
        if record is None:
            return "none"
        after = self.partition.changed_by(record)
        return " ".join(
            [
                text(after.replicas),
                text(after.isr),
                text(after.removing_replicas),
                text(after.adding_replicas),
                text(sorted(after.eligible_leader_replicas)),
                text(after.last_known_elr),
                str(after.leader),
                str(after.leader_recovery_state),
                str(after.leader_epoch),
            ]
        )


def text(ids: Iterable[int]) -> str:
    return ",".join(map(str, ids)) or "-"


def only_replicas(answer: str) -> str:
    """Kafka's answer without eligible leaders that are no replicas any more, in order, and without nobody as the last leader."""
    if answer == "none":
        return answer
    fields = answer.split(" ")
    replicas = fields[0].split(",")
    fields[4] = text(sorted(int(member) for member in fields[4].split(",") if member in replicas)) if fields[4] != "-" else "-"
    fields[5] = "-" if fields[5] == "-1" else fields[5]
    return " ".join(fields)


def some(rng: Random, ids: Iterable[int], likely: float = 0.6) -> tuple[int, ...]:
    return tuple(one for one in ids if rng.random() < likely)


def shuffled(rng: Random, ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(rng.sample(found := list(ids), len(found)))


def random_partition(rng: Random, *, elr_enabled: bool) -> PartitionRegistration:
    replicas = tuple(rng.sample(BROKERS, rng.randint(1, 5)))
    isr = shuffled(rng, some(rng, replicas))
    if not isr and not elr_enabled:
        isr = replicas[:1]
    out = [replica for replica in replicas if replica not in isr]
    eligible = tuple(sorted(some(rng, out, 0.5))) if elr_enabled else ()
    leader = rng.choice(isr) if isr and rng.random() < 0.8 else NO_LEADER
    known = (rng.choice(replicas),) if elr_enabled and leader == NO_LEADER and rng.random() < 0.7 else ()
    adding, removing = (), ()
    if rng.random() < 0.4 and len(replicas) > 1:
        adding = tuple(sorted(some(rng, replicas[1:], 0.4)))
        removing = tuple(sorted(some(rng, (one for one in replicas if one not in adding), 0.4)))
    return PartitionRegistration(
        replicas=replicas,
        isr=isr,
        leader=leader,
        leader_epoch=4,
        partition_epoch=9,
        directories=tuple(uuid.UUID(int=7 << 64 | replica) for replica in replicas),
        removing_replicas=removing,
        adding_replicas=adding,
        leader_recovery_state=int(rng.random() < 0.15),
        eligible_leader_replicas=eligible,
        last_known_elr=known,
    )


def random_target(rng: Random, now: PartitionRegistration) -> Target:
    kind = rng.randrange(6)
    if kind == 0:  # A broker goes.
        gone = rng.choice(now.replicas)
        return Target(isr=tuple(member for member in now.isr if member != gone))
    if kind == 1:  # One comes back that may lack records.
        gone = rng.choice(now.replicas)
        return Target(isr=tuple(member for member in now.isr if member != gone), lost_by=gone)
    if kind == 2 and now.leader != NO_LEADER:  # The leader changes its ISR.
        members = {now.leader, *some(rng, now.replicas)}
        return Target(isr=shuffled(rng, members), recovery_state=0)
    if kind == 3:  # A reassignment.
        wanted = tuple(rng.sample(BROKERS, rng.randint(1, 4)))
        removing = tuple(sorted(set(now.replicas) - set(wanted)))
        adding = tuple(sorted(set(wanted) - (set(now.replicas) - set(now.adding_replicas))))
        return Target(replicas=wanted + removing, removing=removing, adding=adding)
    if kind == 4:  # One is taken back.
        replicas = tuple(replica for replica in now.replicas if replica not in now.adding_replicas)
        isr = tuple(member for member in now.isr if member not in now.adding_replicas) or replicas[:1]
        return Target(isr=isr, replicas=replicas, removing=(), adding=())
    return Target()


def random_case(rng: Random) -> Case:
    elr_enabled = rng.random() < 0.7
    partition = random_partition(rng, elr_enabled=elr_enabled)
    target = random_target(rng, partition)
    alive = set(some(rng, BROKERS, 0.6))
    if target.recovery_state is not None:
        alive |= set(target.isr or ())  # Members that are not there are refused before.
    elif target.isr is not None and target.replicas is None:
        alive -= {*partition.isr, target.lost_by} - set(target.isr)  # Who goes does not lead any more, who comes back not yet.
    return Case(
        partition=partition,
        alive=tuple(sorted(alive)),
        min_isr=rng.randint(1, 3),
        elr_enabled=elr_enabled,
        election=rng.choice(list(Election)),
        target=target,
    )


def test_the_same_becomes_of_a_partition() -> None:
    rng = Random(SEED)
    cases = [random_case(rng) for _ in range(CASES)]
    source = Path(__file__).with_name("java") / "PartitionChanges.java"
    command = ["java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", apache_kafka.classpath(), str(source)]
    ran = subprocess.run(
        command, input="\n".join(case.line() for case in cases) + "\n", capture_output=True, text=True, check=True, timeout=150
    )
    theirs = ran.stdout.splitlines()
    assert len(theirs) == CASES, ran.stderr[-2_000:]
    different = []
    for case, said in zip(cases, theirs, strict=True):
        expected, answer = only_replicas(said), case.answer()
        after = expected.split(" ")
        leads_elsewhere = len(after) > 1 and after[6] != str(NO_LEADER) and after[6] not in after[0].split(",")
        if answer != expected and not leads_elsewhere:
            different.append(f"{case.line()}\n  Kafka: {said}\n  ours:  {answer}")
    assert not different, f"{len(different)} of {CASES}\n" + "\n".join(different[:10])
    assert sum(said != "none" for said in theirs) > CASES / 3, "most cases must change something"
