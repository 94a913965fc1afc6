"""What becomes of one partition: its ISR, its eligible leaders, its leader, and a reassignment that is done.

The order of the steps is Kafka's, for each rests on the one before: a reassignment completes when
its new replicas are in sync; who leaves an ISR that is too small stays eligible to lead (KIP-966);
then somebody is elected; then what changed is written down.

A leader must be acceptable: active, with its replica in a directory that can be used. One that
leads and still may goes on leading. Else, in the order of assignment, a member of the ISR leads; of
the eligible leader replicas when the ISR is empty; the last known leader when both are empty; any
acceptable replica where losing records is allowed; else nobody. Without the feature
``eligible.leader.replicas.version`` the last member of an ISR stays in it while it is away: it alone
is known to have every committed record. With it the ISR becomes empty and that member eligible.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from kafkalab.engine.common.features import METADATA_VERSION
from kafkalab.engine.controller.levels import DIRECTORIES_SINCE, EPOCH_STAYS_ON_SHRINK_SINCE
from kafkalab.engine.metadata.image import PartitionRegistration
from kafkalab.engine.protocol.metadata_records import (
    DIRECTORY_MIGRATING,
    LEADER_RECOVERING,
    LEADER_UNCHANGED,
    NO_LEADER,
    PartitionChangeRecord,
)


class Election(Enum):
    """How far a choice may go."""

    ONLINE = "online"
    """Whoever loses no record leads; who leads may go on."""
    PREFERRED = "preferred"
    """As online, but the first replica comes before the present leader."""
    UNCLEAN = "unclean"
    """As online, but a replica that may lack records leads rather than nobody."""


class Circumstances(NamedTuple):
    """What of the cluster bears upon a partition. A tuple, as the target is, because failovers make thousands of them."""

    is_acceptable: Callable[[int], bool]
    """Whether a broker may lead."""
    min_isr: int = 1
    """Members that an ISR must have for high watermarks to move: min.insync.replicas, never more than there are replicas."""
    elr_enabled: bool = False
    """Whether the cluster keeps eligible leader replicas (KIP-966)."""
    metadata_version: int = METADATA_VERSION
    directory_of_new: Callable[[int], uuid.UUID] = lambda _broker_id: DIRECTORY_MIGRATING
    """Where a broker will have a replica that it has not yet."""


class Target(NamedTuple):
    """What a partition is to become; what is None stays."""

    isr: tuple[int, ...] | None = None
    replicas: tuple[int, ...] | None = None
    removing: tuple[int, ...] | None = None
    adding: tuple[int, ...] | None = None
    recovery_state: int | None = None
    directories: Mapping[int, uuid.UUID] | None = None
    """Directories of single replicas, by broker."""
    lost_by: int = NO_LEADER
    """A broker that came back from an unclean shutdown: it may lack records that it once had."""


AS_IT_IS: Final = Target()


def completed(
    replicas: tuple[int, ...], isr: tuple[int, ...], removing: tuple[int, ...], adding: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Replicas and ISR once a reassignment is done, None while it is not, or where there is none.

    It is done when all new replicas are in sync, somebody in sync remains, and, where there will be
    fewer replicas than before, all of them are in sync: else it would make the ISR smaller than need be.
    """
    if not removing and not adding:
        return None
    remaining = tuple(replica for replica in replicas if replica not in removing)
    remaining_isr = tuple(member for member in isr if member not in removing)
    if not remaining or (removing and not remaining_isr) or not set(adding) <= set(remaining_isr):
        return None
    if len(adding) < len(removing) and not set(remaining) <= set(remaining_isr):
        return None
    return remaining, remaining_isr


def partition_change(
    topic_id: uuid.UUID,
    partition_id: int,
    partition: PartitionRegistration,
    given: Circumstances,
    target: Target = AS_IT_IS,
    election: Election = Election.ONLINE,
) -> PartitionChangeRecord | None:
    """The record that brings a partition to its target, with the leader that it then has; None when nothing changes."""
    return _Change(partition, given, target, election).record(topic_id, partition_id)


class _Change:
    """One partition's way from what it is to what it will be."""

    def __init__(self, partition: PartitionRegistration, given: Circumstances, target: Target, election: Election) -> None:
        self._partition = partition
        self._given = given
        self._target = target
        self._election = election
        self._isr = partition.isr if target.isr is None else target.isr
        self._replicas = partition.replicas if target.replicas is None else target.replicas
        self._removing = partition.removing_replicas if target.removing is None else target.removing
        self._adding = partition.adding_replicas if target.adding is None else target.adding
        self._elr = partition.eligible_leader_replicas
        self._was_unclean = False

    def record(self, topic_id: uuid.UUID, partition_id: int) -> PartitionChangeRecord | None:
        """All steps in their order, and what they changed."""
        self._complete_reassignment()
        self._keep_eligible()
        leader = self._elect()
        before = self._partition
        named = leader if leader != before.leader else LEADER_UNCHANGED
        if named == LEADER_UNCHANGED and self._replicas != before.replicas and not set(before.replicas) <= set(self._replicas):
            # A replica that is taken away must be refused when it fetches on: the leader epoch rises.
            named = before.leader
        if self._was_unclean or not self._given.elr_enabled:
            self._elr = ()
        isr = self._isr if self._isr or self._given.elr_enabled else before.isr
        if named == LEADER_UNCHANGED and self._given.metadata_version < EPOCH_STAYS_ON_SHRINK_SINCE and not set(before.isr) <= set(isr):
            named = before.leader
        state = before.leader_recovery_state if self._target.recovery_state is None else self._target.recovery_state
        if self._was_unclean:
            state = LEADER_RECOVERING
        record = PartitionChangeRecord(
            partition_id=partition_id,
            topic_id=topic_id,
            isr=isr if isr != before.isr else None,
            leader=named,
            replicas=self._replicas if self._replicas != before.replicas else None,
            removing_replicas=self._removing if self._removing != before.removing_replicas else None,
            adding_replicas=self._adding if self._adding != before.adding_replicas else None,
            leader_recovery_state=state if state != before.leader_recovery_state else -1,
            directories=self._changed_directories(),
            eligible_leader_replicas=self._elr if self._elr != before.eligible_leader_replicas else None,
            last_known_elr=self._last_known(named),
        )
        return None if _is_no_op(record) else record

    def _complete_reassignment(self) -> None:
        done = completed(self._replicas, self._isr, self._removing, self._adding)
        if done is not None:
            self._replicas, self._isr = done
            self._removing = self._adding = ()

    def _keep_eligible(self) -> None:
        """Who leaves an ISR below its minimum has every committed record all the same: none is committed without it."""
        if not self._given.elr_enabled:
            return
        if len(self._isr) >= self._given.min_isr:
            self._elr = ()
            return
        candidates = {*self._partition.isr, *self._elr} - {*self._isr, self._target.lost_by}
        self._elr = tuple(sorted(candidates & set(self._replicas)))

    def _elect(self) -> int:
        leader = self._clean_choice()
        if leader == NO_LEADER and self._may_lead_as_last_known():
            leader = self._partition.last_known_elr[0]
            self._was_unclean = True
        if leader == NO_LEADER and self._election is Election.UNCLEAN:
            leader = next(filter(self._given.is_acceptable, self._replicas), NO_LEADER)
            self._was_unclean = leader != NO_LEADER
        if self._was_unclean:
            self._isr = (leader,)
        elif leader in self._elr and leader != self._partition.leader:
            self._isr = (leader,)
            self._elr = tuple(replica for replica in self._elr if replica != leader)
        return leader

    def _clean_choice(self) -> int:
        first, *others = self._replicas
        order = (
            [first, self._partition.leader, *others] if self._election is Election.PREFERRED else [self._partition.leader, *self._replicas]
        )
        return next(filter(self._is_clean, order), NO_LEADER)

    def _is_clean(self, broker_id: int) -> bool:
        return broker_id in (self._isr or self._elr) and self._given.is_acceptable(broker_id)

    def _may_lead_as_last_known(self) -> bool:
        """Whether the last leader may lead, though it came back from an unclean shutdown: nobody is known to have more."""
        known = self._partition.last_known_elr
        if not self._given.elr_enabled or self._isr or self._elr or len(known) != 1:
            return False
        return known[0] in self._replicas and self._given.is_acceptable(known[0])

    def _last_known(self, named: int) -> tuple[int, ...] | None:
        known, leader = self._partition.last_known_elr, self._partition.leader
        if not self._given.elr_enabled:
            return None
        if named == NO_LEADER and not known and leader != NO_LEADER:
            return (leader,)
        return () if named >= 0 and known else None

    def _changed_directories(self) -> tuple[uuid.UUID, ...] | None:
        if self._given.metadata_version < DIRECTORIES_SINCE:
            return None
        before = self._partition
        if not self._target.directories and self._replicas == before.replicas:
            return None
        recorded = before.directories or (DIRECTORY_MIGRATING,) * len(before.replicas)
        known = dict(zip(before.replicas, recorded, strict=True))
        known.update(self._target.directories or {})
        directories = tuple(known[replica] if replica in known else self._given.directory_of_new(replica) for replica in self._replicas)
        return directories if directories != recorded else None


def _is_no_op(record: PartitionChangeRecord) -> bool:
    return (
        record.leader == LEADER_UNCHANGED
        and record.isr is None
        and record.eligible_leader_replicas is None
        and record.last_known_elr is None
        and record.replicas is None
        and record.removing_replicas is None
        and record.adding_replicas is None
        and record.directories is None
        and record.leader_recovery_state < 0
    )


def election_kind(old: PartitionRegistration, new: PartitionRegistration) -> str:
    """By what right the new leader leads, in a word for the screen; empty when leadership did not move.

    "preferred", "isr", "elr", "last known leader" or "unclean"; "none" when nobody leads any more.
    """
    if new.leader == old.leader:
        return ""
    if new.leader == NO_LEADER:
        return "none"
    if new.leader in old.isr:
        return "preferred" if new.leader == new.replicas[0] and old.leader in new.isr else "isr"
    if new.leader in new.isr and len(new.isr) > 1:
        return "isr"  # It came into the ISR by the same change.
    if new.leader in old.eligible_leader_replicas:
        return "elr"
    return "last known leader" if old.last_known_elr == (new.leader,) else "unclean"
