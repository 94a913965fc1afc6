"""Placement of replicas."""

from __future__ import annotations

import uuid
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.controller.placement import place_replicas
from kafkalab.engine.metadata.image import BrokerRegistration


def broker(broker_id: int, *, fenced: bool = False, rack: str | None = None, leaving: bool = False) -> BrokerRegistration:
    return BrokerRegistration(
        broker_id=broker_id,
        broker_epoch=broker_id,
        incarnation_id=uuid.UUID(int=broker_id + 1),
        listeners={},
        fenced=fenced,
        rack=rack,
        in_controlled_shutdown=leaving,
    )


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([None, "a", "b", "c"])), min_size=1, max_size=9),
    st.integers(1, 30),
    st.integers(1, 9),
    st.integers(0, 2**32),
)
def test_placements_are_distinct_and_start_with_an_unfenced_broker(
    shapes: list[tuple[bool, str | None]], partitions: int, replication_factor: int, seed: int
) -> None:
    brokers = [broker(index, fenced=fenced, rack=rack) for index, (fenced, rack) in enumerate(shapes)]
    fenced_ids = {one.broker_id for one in brokers if one.fenced}
    try:
        placements = place_replicas(brokers, partitions=partitions, replication_factor=replication_factor, rng=Random(seed))
    except ApiError as refusal:
        assert refusal.error is Errors.INVALID_REPLICATION_FACTOR
        assert replication_factor > len(brokers) or len(fenced_ids) == len(brokers)
        return
    assert len(placements) == partitions
    for replicas in placements:
        assert len(set(replicas)) == replication_factor
        assert replicas[0] not in fenced_ids


def test_leaders_and_replicas_spread_evenly() -> None:
    for seed in range(50):
        placements = place_replicas([broker(index) for index in (1, 2, 3)], partitions=9, replication_factor=2, rng=Random(seed))
        assert set(Counter(replicas[0] for replicas in placements).values()) == {3}
        assert set(Counter(replica for replicas in placements for replica in replicas).values()) == {6}


def test_replicas_are_in_as_many_racks_as_there_are() -> None:
    racks = {1: "a", 2: "a", 3: "b", 4: "b", 5: "c", 6: "c"}
    brokers = [broker(index, rack=rack) for index, rack in racks.items()]
    for seed in range(20):
        for replicas in place_replicas(brokers, partitions=12, replication_factor=3, rng=Random(seed)):
            assert {racks[replica] for replica in replicas} == {"a", "b", "c"}


def test_who_is_leaving_gets_nothing_new() -> None:
    brokers = [broker(1), broker(2, leaving=True)]
    assert place_replicas(brokers, partitions=2, replication_factor=1, rng=Random(0)) == [(1,), (1,)]
    with pytest.raises(ApiError, match=r"only 1 broker\(s\) are registered"):
        place_replicas(brokers, partitions=1, replication_factor=2, rng=Random(0))


def test_fenced_brokers_come_last() -> None:
    brokers = [broker(1, fenced=True), broker(2), broker(3)]
    for replicas in place_replicas(brokers, partitions=6, replication_factor=2, rng=Random(3)):
        assert 1 not in replicas
    with pytest.raises(ApiError, match="All brokers are currently fenced"):
        place_replicas([broker(1, fenced=True)], partitions=1, replication_factor=1, rng=Random(3))
