"""Where the replicas of new partitions go: in stripes over racks, and over brokers within a rack.

Each partition starts one rack and one broker further than the one before, so that leaders and
replicas spread evenly. The first replica is an unfenced broker; the others are too while there are
any. The start is a matter of chance, and after as many partitions as there are unfenced brokers
the order is shuffled, so that stripes do not repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.metadata.image import BrokerRegistration

if TYPE_CHECKING:
    from random import Random


class _BrokerRing:
    """Brokers in a circle; each round starts one further."""

    def __init__(self, broker_ids: list[int], rng: Random) -> None:
        self.broker_ids = sorted(broker_ids)
        self._start = rng.randrange(len(broker_ids)) if broker_ids else 0
        self._taken = 0
        self._round = 0

    def next(self, round_number: int) -> int | None:
        """The next broker of this round, None when all have been given."""
        count = len(self.broker_ids)
        if count and self._round != round_number:
            self._round = round_number
            self._taken = 0
            self._start = (self._start + 1) % count
        if self._taken >= count:
            return None
        broker_id = self.broker_ids[(self._start + self._taken) % count]
        self._taken += 1
        return broker_id

    def shuffle(self, rng: Random) -> None:
        """Another order, and no memory of the last round."""
        rng.shuffle(self.broker_ids)
        self._round = -1


class _Rack:
    def __init__(self, brokers: list[BrokerRegistration], rng: Random) -> None:
        self.unfenced = _BrokerRing([broker.broker_id for broker in brokers if not broker.fenced], rng)
        self.fenced = _BrokerRing([broker.broker_id for broker in brokers if broker.fenced], rng)

    def next(self, round_number: int) -> int | None:
        broker_id = self.unfenced.next(round_number)
        return self.fenced.next(round_number) if broker_id is None else broker_id

    def shuffle(self, rng: Random) -> None:
        self.unfenced.shuffle(rng)
        self.fenced.shuffle(rng)


class _Stripes:
    def __init__(self, brokers: list[BrokerRegistration], rng: Random) -> None:
        self._rng = rng
        by_rack: dict[str, list[BrokerRegistration]] = {}
        for broker in brokers:
            by_rack.setdefault(broker.rack or "", []).append(broker)
        self._racks = [_Rack(by_rack[name], rng) for name in sorted(by_rack)]
        self._unfenced_count = sum(not broker.fenced for broker in brokers)
        self._start = rng.randrange(len(self._racks))
        self._round = 0

    def place(self, replication_factor: int) -> tuple[int, ...]:
        if self._round == self._unfenced_count and self._unfenced_count > 1:
            self._rng.shuffle(self._racks)
            for rack in self._racks:
                rack.shuffle(self._rng)
            self._round = 0
        rack_count = len(self._racks)
        replicas: list[int] = []
        leader_rack = self._start
        while not replicas:
            broker_id = self._racks[leader_rack].unfenced.next(self._round)
            if broker_id is None:
                leader_rack = (leader_rack + 1) % rack_count
            else:
                replicas.append(broker_id)
        # The rack that gave the leader is passed over once: the second replica is elsewhere.
        passed_over = False
        rack_index = self._start
        while len(replicas) < replication_factor:
            if rack_index == leader_rack and not passed_over:
                passed_over = True
            elif (broker_id := self._racks[rack_index].next(self._round)) is not None:
                replicas.append(broker_id)
            rack_index = (rack_index + 1) % rack_count
        self._round += 1
        self._start = (self._start + 1) % rack_count
        return tuple(replicas)


def check_assignment(brokers: Mapping[int, BrokerRegistration], broker_ids: Sequence[int], replication_factor: int | None = None) -> None:
    """Refuse replicas that somebody asks for, where brokers cannot hold them.

    :raises ApiError: INVALID_REPLICA_ASSIGNMENT.
    """

    def refuse(message: str) -> ApiError:
        return ApiError(Errors.INVALID_REPLICA_ASSIGNMENT, message)

    if not broker_ids:
        raise refuse("The manual partition assignment includes an empty replica list.")
    for broker_id, count in sorted(Counter(broker_ids).items()):
        if broker_id not in brokers:
            raise refuse(f"The manual partition assignment includes broker {broker_id}, but no such broker is registered.")
        if not brokers[broker_id].has_uncordoned_directory:
            raise refuse(f"The manual partition assignment includes broker {broker_id}, but all its log directories are cordoned.")
        if count > 1:
            raise refuse(f"The manual partition assignment includes the broker {broker_id} more than once.")
    if replication_factor is not None and len(broker_ids) != replication_factor:
        raise refuse(
            f"The manual partition assignment includes a partition with {len(broker_ids)} replica(s), but this is not "
            f"consistent with previous partitions, which have {replication_factor} replica(s)."
        )


def place_replicas(
    brokers: Iterable[BrokerRegistration], *, partitions: int, replication_factor: int, rng: Random
) -> list[tuple[int, ...]]:
    """Replicas for each of a number of new partitions, the preferred leader first.

    :raises ApiError: INVALID_REPLICATION_FACTOR when the brokers do not suffice.
    """
    usable = [broker for broker in brokers if (not broker.in_controlled_shutdown or broker.fenced) and broker.has_uncordoned_directory]
    if all(broker.fenced for broker in usable):
        raise ApiError(
            Errors.INVALID_REPLICATION_FACTOR,
            "All brokers are currently fenced, or have all their log directories cordoned.",
        )
    if replication_factor > len(usable):
        raise ApiError(
            Errors.INVALID_REPLICATION_FACTOR,
            f"The target replication factor of {replication_factor} cannot be reached because only {len(usable)} "
            "broker(s) are registered or some brokers have all their log directories cordoned.",
        )
    stripes = _Stripes(usable, rng)
    return [stripes.place(replication_factor) for _ in range(partitions)]
