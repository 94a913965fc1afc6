"""What the host makes of broken links and clocks: who is told, what is told of it, and what makes no sense."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.host import ClusterHost
from kafkalab.engine.faults.network import CLIENTS, LinkFault
from kafkalab.engine.telemetry.events import BrokerUnfenced, ClockJumped, Event, LinkCut, LinkHealed, LinkImpaired
from kafkalab.engine.telemetry.hub import Reader
from kafkalab.engine.telemetry.levels import ClockKey, ClockLevel, LinksKey, LinksLevel, LinkState
from tests.support.fake_nodes import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def host(cluster: FakeCluster, tmp_path: Path) -> Iterator[ClusterHost]:
    host = ClusterHost(data_dir=tmp_path / "data", runner_factory=cluster)
    host.start()
    yield host
    host.close()


@pytest.fixture
def told(host: ClusterHost) -> Reader:
    return host.hub.open_reader()


def events(reader: Reader) -> list[Event]:
    return reader.drain(10_000)[0]


def links(host: ClusterHost) -> tuple[LinkState, ...]:
    level = host.hub.levels().get(LinksKey())
    return level.links if isinstance(level, LinksLevel) else ()


def test_both_ends_of_a_cut_link_are_told_and_nobody_else(host: ClusterHost, cluster: FakeCluster, told: Reader) -> None:
    host.isolate(1, 2)
    both = {LinkFault(1, 2, is_cut=True), LinkFault(2, 1, is_cut=True)}
    assert set(cluster.runners[1].link_faults) == set(cluster.runners[2].link_faults) == both
    assert cluster.runners[3].link_faults == ()
    assert [(state.source, state.target, state.is_cut) for state in links(host)] == [(1, 2, True), (2, 1, True)]
    (cut,) = events(told)
    assert isinstance(cut, LinkCut) and (cut.source, cut.target, cut.both_ways, cut.node_id) == (1, 2, True, -1)


def test_one_way_is_one_direction(host: ClusterHost, cluster: FakeCluster, told: Reader) -> None:
    host.cut(1, "clients")
    assert cluster.runners[1].link_faults == (LinkFault(1, CLIENTS, is_cut=True),)
    host.cut("clients", 2)
    assert cluster.runners[2].link_faults == (LinkFault(CLIENTS, 2, is_cut=True),)
    assert [(event.source, event.target, event.both_ways) for event in events(told) if isinstance(event, LinkCut)] == [
        (1, -1, False),
        (-1, 2, False),
    ]


def test_a_node_can_be_isolated_from_all_others_at_once(host: ClusterHost, cluster: FakeCluster) -> None:
    host.isolate(2)
    assert {state.target for state in links(host) if state.source == 2} == {1, 3, 101, 102, 103}
    assert not any(CLIENTS in (state.source, state.target) for state in links(host))
    assert len(cluster.runners[103].link_faults) == 2


def test_what_is_wrong_with_one_link_adds_up_and_is_taken_back_by_nothing(host: ClusterHost, cluster: FakeCluster, told: Reader) -> None:
    host.delay(1, 2, 100, 20)
    host.slow(1, 2, 1_000, one_way=True)
    host.lose(2, 1, 0.25, one_way=True)
    assert links(host) == (LinkState(1, 2, False, 100.0, 20.0, 0.0, 1_000.0), LinkState(2, 1, False, 100.0, 20.0, 0.25, 0.0))
    said = [event.detail for event in events(told) if isinstance(event, LinkImpaired)]
    assert said == ["100 ms ± 20 ms late", "100 ms ± 20 ms late, 1000 bytes/s", "100 ms ± 20 ms late, 25 % lost"]
    host.slow(1, 2, 0)
    host.lose(1, 2, 0)
    assert not [event for event in events(told) if isinstance(event, LinkHealed)]
    host.delay(1, 2, 0)
    assert [(event.source, event.target) for event in events(told) if isinstance(event, LinkHealed)] == [(1, 2)]
    assert links(host) == () and LinksKey() not in host.hub.levels()
    assert cluster.runners[1].link_faults == ()


def test_healing_takes_one_link_those_of_one_or_all(host: ClusterHost, cluster: FakeCluster, told: Reader) -> None:
    host.isolate(1, 2)
    host.isolate(1, 3)
    host.cut(2, 3)
    host.isolate(101, "clients")
    host.heal(3, 2)
    assert {(state.source, state.target) for state in links(host)} == {(1, 2), (2, 1), (1, 3), (3, 1), (101, -1), (-1, 101)}
    host.heal(1)
    assert {(state.source, state.target) for state in links(host)} == {(101, -1), (-1, 101)}
    host.heal("clients")
    assert links(host) == ()
    healed = [(event.source, event.target) for event in events(told) if isinstance(event, LinkHealed)]
    assert healed == [(2, 3), (1, 2), (1, 3), (-1, 101)]
    assert not any(runner.link_faults for runner in cluster.runners.values())
    host.heal()
    assert events(told) == []


def test_a_restart_does_not_mend_anything(host: ClusterHost, cluster: FakeCluster) -> None:
    host.isolate(1, 2)
    host.jump_clock(1, 60)
    host.kill(1)
    host.cut(3, 1)
    host.restart(1)
    expected = {LinkFault(1, 2, is_cut=True), LinkFault(2, 1, is_cut=True), LinkFault(3, 1, is_cut=True)}
    assert set(cluster.runners[1].spec.link_faults) == expected
    assert cluster.runners[1].spec.clock_offset_ms == 60_000


def test_what_makes_no_sense_is_refused(host: ClusterHost) -> None:
    for wrong, why in (
        (lambda: host.isolate(1, 9), "There is no node 9"),
        (lambda: host.cut("client", 1), "There is no node client"),  # type: ignore[arg-type]
        (lambda: host.cut(2, 2), "a link has two ends"),
        (lambda: host.cut("clients", "clients"), "a link has two ends"),
        (lambda: host.delay(1, 2, -1), "0 ms or more"),
        (lambda: host.lose(1, 2, 1.5), "from 0 to 1"),
        (lambda: host.slow(1, 2, -5), "1 byte per second or more"),
        (lambda: host.heal(77), "There is no node 77"),
        (lambda: host.jump_clock(9, 1), "no node 9"),
    ):
        with pytest.raises(HostError, match=why):
            wrong()
    assert links(host) == ()


def test_a_clock_jumps_and_its_jumps_add_up(host: ClusterHost, cluster: FakeCluster, told: Reader) -> None:
    host.jump_clock(2, 3_600)
    assert cluster.runners[2].clock_offset_ms == 3_600_000
    assert host.hub.levels()[ClockKey(2)] == ClockLevel(offset_seconds=3_600.0)
    host.jump_clock(2, -3_600.5)
    assert cluster.runners[2].clock_offset_ms == -500
    host.jump_clock(2, 0.5)
    assert ClockKey(2) not in host.hub.levels()
    jumps = [(event.node, event.seconds, event.offset_seconds) for event in events(told) if isinstance(event, ClockJumped)]
    assert jumps == [(2, 3_600, 3_600.0), (2, -3_600.5, -0.5), (2, 0.5, 0.0)]


def test_events_of_a_node_whose_clock_is_wrong_stand_where_they_happened(host: ClusterHost, cluster: FakeCluster, told: Reader) -> None:
    host.jump_clock(101, 3_600)
    events(told)
    now_ms = time.time() * 1000
    sink = cluster.runners[101].sink
    sink.emit(BrokerUnfenced(at_ms=now_ms + 3_600_000, node_id=101, broker_id=1))
    # It was on its way when the clock jumped.
    sink.emit(BrokerUnfenced(at_ms=now_ms - 5, node_id=101, broker_id=2))
    assert [event.at_ms for event in events(told)] == [pytest.approx(now_ms), pytest.approx(now_ms - 5)]
