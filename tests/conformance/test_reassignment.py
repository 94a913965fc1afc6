"""Replicas move, leaders are elected on request and brokers are forgotten while clients write."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kafkalab import Lab
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import PartitionChanged, ReassignmentChanged
from kafkalab.engine.telemetry.levels import BrokerKey, PartitionKey, PartitionLevel
from tests.support.raw_client import RawClient
from tests.support.steady_load import WAIT_S, Load, check

from .conftest import FAST_FAILOVER

TOPIC = "orders"
CHECK_EVERY_S = 0.02


def wait_until(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until, what()
        time.sleep(CHECK_EVERY_S)


def partitions(lab: Lab) -> dict[int, PartitionLevel]:
    levels = lab.hub.levels().items()
    return {
        key.partition: level
        for key, level in levels
        if isinstance(key, PartitionKey) and key.topic == TOPIC and isinstance(level, PartitionLevel)
    }


def ask(lab: Lab, api_key: ApiKey, version: int, body: Mapping[str, Any]) -> Any:
    address = lab.bootstrap_servers.split(",")[0]
    with RawClient(address) as client:
        return client.ask(api_key, version, body)


def reassign(lab: Lab, replicas: Mapping[int, list[int] | None]) -> list[int]:
    rows = [{"partition_index": partition, "replicas": wanted} for partition, wanted in replicas.items()]
    body = {"timeout": 30_000, "allow_replication_factor_change": True, "topics": [{"name": TOPIC, "partitions": rows}]}
    answer = ask(lab, ApiKey.ALTER_PARTITION_REASSIGNMENTS, 1, body)
    assert answer.error_code == 0
    return [row.error_code for topic in answer.responses for row in topic.partitions]


def move(lab: Lab, wanted: tuple[int, ...], count: int) -> None:
    assert reassign(lab, {partition: list(wanted) for partition in range(count)}) == [0] * count
    wait_until(
        lambda: all(level.replicas == wanted and set(level.isr) == set(wanted) for level in partitions(lab).values()),
        lambda: partitions(lab),
    )


@pytest.mark.timeout(180)
def test_replicas_move_under_load_and_nothing_is_lost() -> None:
    with Lab(brokers=4, config=FAST_FAILOVER) as lab:
        lab.create_topic(TOPIC, partitions=3, replication_factor=2, config={"min.insync.replicas": 2})
        events = lab.hub.open_reader()
        with Load(lab.bootstrap_servers, TOPIC) as load:
            load.wait_for(200)
            move(lab, (3, 4), 3)
            load.wait_for(200)
            move(lab, (1, 2), 3)
            load.wait_for(200)
            # More replicas, and fewer again.
            move(lab, (1, 2, 3, 4), 3)
            move(lab, (4, 1), 3)
            load.wait_for(200)
        check(lab.bootstrap_servers, TOPIC, load)
        happened = events.drain(100_000)[0]
        states = [event.state for event in happened if isinstance(event, ReassignmentChanged) and event.partition == 0]
        assert states[0] in ("started", "done") and states[-1] == "done" and set(states) == {"started", "done"}, states
        listed = ask(lab, ApiKey.LIST_PARTITION_REASSIGNMENTS, 0, {"timeout": 1_000, "topics": None})
        assert (listed.error_code, list(listed.topics)) == (0, [])


@pytest.mark.expects_warnings
@pytest.mark.timeout(180)
def test_a_move_to_a_broker_that_is_away_waits_and_can_be_taken_back() -> None:
    with Lab(brokers=4, config=FAST_FAILOVER) as lab:
        lab.create_topic(TOPIC, partitions=1, replication_factor=2)
        with Load(lab.bootstrap_servers, TOPIC) as load:
            load.wait_for(100)
            before = partitions(lab)[0].replicas
            other, away = (broker_id for broker_id in lab.broker_ids if broker_id not in before)
            lab.kill(away)
            wait_until(lambda: getattr(lab.hub.levels().get(BrokerKey(away)), "fenced", False), lambda: "not fenced")
            assert reassign(lab, {0: [other, away]}) == [0]
            wait_until(lambda: other in partitions(lab)[0].isr, lambda: partitions(lab))
            assert partitions(lab)[0].adding == tuple(sorted((other, away)))
            load.wait_for(100)
            assert reassign(lab, {0: None}) == [0]
            wait_until(lambda: not partitions(lab)[0].adding, lambda: partitions(lab))
            assert set(partitions(lab)[0].replicas) == set(before)
            assert reassign(lab, {0: None}) == [Errors.NO_REASSIGNMENT_IN_PROGRESS]
            # What waits for a broker goes on when that comes back.
            assert reassign(lab, {0: [other, away]}) == [0]
            lab.restart(away)
            wait_until(lambda: partitions(lab)[0].replicas == (other, away), lambda: partitions(lab))
            load.wait_for(100)
        check(lab.bootstrap_servers, TOPIC, load)


@pytest.mark.expects_warnings
@pytest.mark.timeout(180)
def test_eligible_leaders_elections_on_request_and_brokers_that_are_forgotten() -> None:
    with Lab(brokers=3, config=FAST_FAILOVER) as lab:
        lab.create_topic(TOPIC, partitions=1, replication_factor=3, config={"min.insync.replicas": 3})
        events = lab.hub.open_reader()
        with Load(lab.bootstrap_servers, TOPIC) as load:
            load.wait_for(100)
            first = partitions(lab)[0].replicas[0]
            lab.kill(first)
            wait_until(lambda: first in partitions(lab)[0].elr, lambda: partitions(lab))
            assert partitions(lab)[0].leader not in (-1, first)
            lab.restart(first)
            wait_until(lambda: len(partitions(lab)[0].isr) == 3, lambda: partitions(lab))
            assert partitions(lab)[0].elr == ()
            body = {"election_type": 0, "topic_partitions": [{"topic": TOPIC, "partitions": [0]}], "timeout": 10_000}
            answer = ask(lab, ApiKey.ELECT_LEADERS, 2, body)
            assert [row.error_code for row in answer.replica_election_results[0].partition_result] == [0]
            wait_until(lambda: partitions(lab)[0].leader == first, lambda: partitions(lab))
            again = ask(lab, ApiKey.ELECT_LEADERS, 2, body)
            assert again.replica_election_results[0].partition_result[0].error_code == Errors.ELECTION_NOT_NEEDED
            load.wait_for(100)
        check(lab.bootstrap_servers, TOPIC, load)
        elections = [event.election for event in events.drain(100_000)[0] if isinstance(event, PartitionChanged) and event.election]
        assert elections[0] == "isr" and elections[-1] == "preferred"

        last = lab.broker_ids[-1]
        lab.kill(last)
        assert ask(lab, ApiKey.UNREGISTER_BROKER, 0, {"broker_id": last}).error_code == 0
        wait_until(lambda: lab.hub.levels().get(BrokerKey(last)) is None, lambda: lab.hub.levels().get(BrokerKey(last)))
        assert ask(lab, ApiKey.UNREGISTER_BROKER, 0, {"broker_id": last}).error_code == Errors.BROKER_ID_NOT_REGISTERED
