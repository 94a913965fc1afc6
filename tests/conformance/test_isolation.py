"""Nodes that cannot hear each other, that hear each other late, and whose clocks are wrong, under load."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from confluent_kafka import Producer

from kafkalab import Lab
from kafkalab.engine.cluster.host import Isolation
from kafkalab.engine.cluster.remote_host import RemoteClusterHost
from kafkalab.engine.telemetry.events import (
    BrokerFenced,
    BrokerUnfenced,
    Event,
    LinkCut,
    LinkHealed,
    LogTruncated,
    PartitionChanged,
    QuorumLeaderElected,
    RaftStateChanged,
)
from kafkalab.engine.telemetry.hub import Reader, TelemetryHub
from kafkalab.engine.telemetry.levels import LinksKey, LinksLevel
from tests.support.steady_load import WAIT_S, Load, check

from .conftest import FAST_FAILOVER, PATIENT_FAILOVER, PATIENT_SESSION_MS

pytestmark = [pytest.mark.timeout(240), pytest.mark.expects_warnings]

E = TypeVar("E", bound=Event)
QUIET_S = 0.5
"""Long enough to see that nothing gets through."""


class Watch:
    """Waits for events, and keeps all that it has seen."""

    def __init__(self, hub: TelemetryHub) -> None:
        self._reader: Reader = hub.open_reader()
        self.seen: list[Event] = []

    def all_of(self, kind: type[E]) -> list[E]:
        """What has happened up to now."""
        self.seen += self._reader.drain(100_000)[0]
        return [event for event in self.seen if isinstance(event, kind)]

    def wait_for(self, kind: type[E], condition: Callable[[E], bool]) -> E:
        """The first of its kind, now or later."""
        deadline = time.monotonic() + WAIT_S
        while True:
            for event in self.all_of(kind):
                if condition(event):
                    return event
            assert time.monotonic() < deadline, f"no such {kind.__name__} came"
            self._reader.wait_changed(1.0)


def fast_lab(**options: Any) -> Lab:
    return Lab(config=FAST_FAILOVER, **options)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_an_isolated_leader_is_replaced_and_what_it_alone_has_is_cut_off(isolation: Isolation) -> None:
    with Lab(config=PATIENT_FAILOVER, isolation=isolation) as lab:
        lab.create_topic("orders", partitions=1, replication_factor=3, config={"min.insync.replicas": 2})
        watch = Watch(lab.hub)
        # A client that is left in the dark waits for a minute otherwise.
        with Load(lab.bootstrap_servers, "orders", **{"socket.timeout.ms": 1_500, "request.timeout.ms": 1_000}) as load:
            load.wait_for(200)
            isolated = lab.describe().leader("orders", 0)
            lab.isolate(isolated)
            # Its clients still reach it, and it does not know that it leads no more.
            alone = Producer({"bootstrap.servers": lab.describe().node(isolated).address, "acks": 1, "log_level": 0})
            written: list[int] = []
            alone.produce("orders", b"0", on_delivery=lambda error, message: None if error else written.append(message.offset()))
            assert alone.flush(WAIT_S) == 0 and written
            fenced = watch.wait_for(BrokerFenced, lambda event: event.broker_id == isolated)
            # A controller that stood still meanwhile waits a little longer.
            assert PATIENT_SESSION_MS <= fenced.silent_ms < 2 * PATIENT_SESSION_MS
            moved = watch.wait_for(PartitionChanged, lambda event: event.topic == "orders" and event.old_leader == isolated)
            assert moved.new_leader not in (isolated, -1) and isolated not in moved.new_isr
            # Clients may still ask the one that was cut off; what it says is from another time.
            lab.isolate(isolated, "clients")
            load.wait_for(400)
            lab.heal()
            watch.wait_for(LogTruncated, lambda event: event.node_id == isolated)
            lab.wait_until_healthy(WAIT_S)
            load.wait_for(200)
        check(lab.bootstrap_servers, "orders", load)
        assert [event.broker_id for event in watch.all_of(BrokerFenced)] == [isolated]


def test_an_isolated_controller_is_replaced_and_follows_when_it_is_back() -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3)
        watch = Watch(lab.hub)
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(100)
            isolated = lab.describe().controller
            lab.isolate(isolated)
            elected = watch.wait_for(QuorumLeaderElected, lambda event: event.node_id != isolated)
            assert isolated not in elected.votes
            # Without a majority that fetches from it, it gives up by itself.
            watch.wait_for(RaftStateChanged, lambda event: event.node_id == isolated and event.old_state == "leader")
            lab.create_topic("after", partitions=1, replication_factor=3, timeout=WAIT_S)
            load.wait_for(100)
            elections = len(watch.all_of(QuorumLeaderElected))
            lab.heal()
            watch.wait_for(
                RaftStateChanged,
                lambda event: event.node_id == isolated and event.new_state == "follower" and event.epoch >= elected.epoch,
            )
            lab.wait_until_healthy(WAIT_S)
        check(lab.bootstrap_servers, "orders", load)
        # Who was away does not disturb those who were not.
        assert len(watch.all_of(QuorumLeaderElected)) == elections


@pytest.mark.parametrize("to_broker", [False, True], ids=["heartbeats", "answers"])
def test_one_direction_is_enough_to_lose_a_broker(to_broker: bool) -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3)
        watch = Watch(lab.hub)
        for controller in lab.controller_ids:
            lab.cut(*((controller, 2) if to_broker else (2, controller)))
        watch.wait_for(BrokerFenced, lambda event: event.broker_id == 2)
        lab.heal(2)
        watch.wait_for(BrokerUnfenced, lambda event: event.broker_id == 2)
        lab.wait_until_healthy(WAIT_S)


def test_clients_that_are_cut_off_go_on_where_they_were() -> None:
    # With Kafka's own timeouts: nobody is to be thought dead.
    with Lab() as lab:
        lab.create_topic("orders", partitions=1, replication_factor=3, config={"min.insync.replicas": 2})
        watch = Watch(lab.hub)
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(100)
            leader = lab.describe().leader("orders", 0)
            lab.isolate("clients", leader)
            # What was on its way to the client when the link was cut may still come.
            load.wait_until_quiet(QUIET_S)
            lab.heal()
            load.wait_for(300)
        check(lab.bootstrap_servers, "orders", load)
        assert not watch.all_of(BrokerFenced) and not watch.all_of(PartitionChanged)


def test_late_lossy_and_slow_links_cost_time_and_nothing_else() -> None:
    with fast_lab() as lab:
        lab.create_topic("orders", partitions=3, replication_factor=3, config={"min.insync.replicas": 2})
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(100)
            lab.delay(1, 2, 40, 20)
            lab.lose(2, 3, 0.1)
            lab.slow(1, 3, 20_000)
            lab.delay("clients", 1, 10, 5)
            lab.slow("clients", 2, 50_000)
            load.wait_for(400)
            lab.heal()
            lab.wait_until_healthy(WAIT_S)
            load.wait_for(200)
        check(lab.bootstrap_servers, "orders", load)


def test_a_clock_that_jumps_fences_nobody_and_elects_nobody() -> None:
    with Lab() as lab:
        lab.create_topic(
            "orders", partitions=3, replication_factor=3, config={"min.insync.replicas": 2, "message.timestamp.type": "LogAppendTime"}
        )
        watch = Watch(lab.hub)
        with Load(lab.bootstrap_servers, "orders") as load:
            load.wait_for(100)
            for node_id, seconds in ((1, 3_600.0), (2, -3_600.0), (lab.describe().controller, 7_200.0)):
                lab.jump_clock(node_id, seconds)
                load.wait_for(100)
            # A restart does not set a clock.
            lab.restart(1)
            lab.wait_until_healthy(WAIT_S)
            load.wait_for(100)
        check(lab.bootstrap_servers, "orders", load)
        assert all("controlled shutdown" in event.cause for event in watch.all_of(BrokerFenced))
        assert not watch.all_of(QuorumLeaderElected)
        # All stand on one time line.
        now_ms = time.time() * 1000
        assert all(now_ms - 120_000 < event.at_ms <= now_ms for event in watch.seen)


def test_links_of_a_cluster_in_a_child_process(tmp_path: Path) -> None:
    host = RemoteClusterHost(2, 1, data_dir=tmp_path, config=FAST_FAILOVER)
    try:
        host.start()
        host.wait_until_ready(WAIT_S)
        watch = Watch(host.hub)
        host.isolate(1)
        assert [(event.source, event.target) for event in watch.all_of(LinkCut)] == [(1, 2), (1, 101)]
        level = host.hub.levels()[LinksKey()]
        assert isinstance(level, LinksLevel) and len(level.links) == 4
        watch.wait_for(BrokerFenced, lambda event: event.broker_id == 1)
        host.delay(1, 2, 5, 1, one_way=True)
        host.jump_clock(2, 60)
        host.heal()
        assert LinksKey() not in host.hub.levels()
        assert len(watch.all_of(LinkHealed)) == 2
        host.wait_until_healthy(WAIT_S)
    finally:
        host.close()
