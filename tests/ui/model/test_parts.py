"""The parts of the model by themselves: rates, clients, groups, leadership, timeline, the write outlook."""

from __future__ import annotations

from typing import Any

import pytest

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry import events as ev
from kafkalab.engine.telemetry import levels as lv
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.clients import Clients
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.failover import FailoverHistory
from kafkalab.ui.model.groups import _Watermarks
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.outlook import write_outlook
from kafkalab.ui.model.rates import SAMPLE_INTERVAL_MS, RateMeter
from kafkalab.ui.model.states import NodeState, Tone
from kafkalab.ui.model.timeline import ROWS_MAX, ROWS_REMOVED_AT_ONCE
from tests.support import telemetry_samples as samples

TP = TopicPartition("orders", 1)


def connection(client_id: str, **changes: object) -> lv.ConnectionLevel:
    facts: dict[str, object] = {
        "client_id": client_id,
        "software": "librdkafka 2.16",
        "address": "127.0.0.1:40000",
        "listener": "PLAINTEXT",
        "peer_node_id": -1,
        "bytes_in": 0,
        "bytes_out": 0,
        "requests": 1,
        "produced_bytes": 0,
        "fetched_bytes": 0,
        "in_flight": 0,
        "apis": (),
        "acks": None,
        "producer_id": -1,
        "last_error": "",
        "group_id": "",
    }
    return lv.ConnectionLevel(**{**facts, **changes})  # type: ignore[arg-type]


# --- rates ---------------------------------------------------------------------------------------


def test_a_rate_is_the_mean_over_a_second_and_falls_to_zero() -> None:
    meter = RateMeter()
    meter.update(1_000)
    assert meter.sample(250) == 0
    for counter in (1_250, 1_500, 1_750, 2_000):
        meter.update(counter)
        meter.sample(250)
    assert meter.rate == 1_000
    for _ in range(4):
        meter.sample(250)
    assert meter.rate == 0 and meter.is_still


def test_a_log_that_shrinks_was_not_written_anew() -> None:
    meter = RateMeter()
    for size in (5_000_000, 5_000_250, 150_000, 150_250):
        meter.update(size, may_shrink=True)
        meter.sample(250)
    assert meter.rate == pytest.approx(500 / 0.75), "compaction took nearly all of it away; what came is two times 250 bytes"


def test_a_counter_that_begins_anew_is_no_negative_rate() -> None:
    meter = RateMeter()
    meter.update(10_000)
    meter.update(500)
    assert meter.sample(1_000) == 500


# --- clients -------------------------------------------------------------------------------------


def test_a_client_becomes_a_producer_when_it_produces() -> None:
    clients, change = Clients(), ChangeSet()
    key = lv.ConnectionKey(1, 1)
    clients.update(key, connection("app"), change)
    assert clients.clients["c:app"].kind == "client"
    clients.update(key, connection("app", acks=-1, producer_id=4001, produced_bytes=10), change)
    client = clients.clients["c:app"]
    assert (client.kind, client.subtitle) == ("producer", "librdkafka 2.16 · acks=all · producer id 4001")


def test_connections_of_members_gather_on_the_groups_card() -> None:
    clients, change = Clients(), ChangeSet()
    clients.update(lv.ConnectionKey(1, 1), connection("member-1", fetched_bytes=5), change)
    assert set(clients.clients) == {"c:member-1"}
    clients.update(lv.ConnectionKey(2, 9), connection("member-1", group_id="billing"), change)
    assert set(clients.clients) == {"g:billing"}
    assert set(clients.clients["g:billing"].links) == {1, 2}
    assert clients.clients["g:billing"].link == Link.group("billing")


def test_a_member_that_told_its_group_late_is_counted_once() -> None:
    clients, change = Clients(), ChangeSet()
    keys = [lv.ConnectionKey(1, 1), lv.ConnectionKey(1, 2)]
    for key in keys:
        clients.update(key, connection("member-1"), change)
    clients.update(keys[0], connection("member-1", group_id="billing"), change)
    clients.update(keys[1], connection("member-1", group_id="billing"), change)
    assert {link.connections for link in clients.clients["g:billing"].links.values()} == {2}
    for key in keys:
        clients.remove(key, 1_000.0, change)
    clients.sample(250, 60_000.0, change)
    assert not clients.clients, "its card does not stay for ever"


def test_a_producer_with_the_same_client_id_as_a_group_keeps_its_own_card() -> None:
    clients, change = Clients(), ChangeSet()
    clients.update(lv.ConnectionKey(1, 1), connection("rdkafka", group_id="billing"), change)
    clients.update(lv.ConnectionKey(1, 2), connection("rdkafka", acks=1), change)
    assert set(clients.clients) == {"g:billing", "c:rdkafka"}


def test_nodes_are_no_clients() -> None:
    clients, change = Clients(), ChangeSet()
    clients.update(lv.ConnectionKey(1, 1), connection("broker-2-fetcher-0", peer_node_id=2), change)
    clients.update(lv.ConnectionKey(101, 2), connection("broker-2-heartbeat", listener="CONTROLLER"), change)
    clients.update(lv.ConnectionKey(101, 3), connection("raft-client-103", listener="CONTROLLER"), change)
    clients.update(lv.ConnectionKey(1, 4), connection("broker-7-heartbeat"), change)
    assert set(clients.peer_links) == {(1, 2), (101, 2), (101, 103)}
    # On a client's listener a name proves nothing.
    assert set(clients.clients) == {"c:broker-7-heartbeat"}


@pytest.mark.parametrize("sockets_first", [True, False])
def test_a_line_breaks_when_its_node_goes_away(sockets_first: bool) -> None:
    clients, change = Clients(), ChangeSet()
    for node_id in (1, 2):
        clients.update(lv.ConnectionKey(node_id, 1), connection("app", acks=-1), change)
    steps = [lambda: clients.remove(lv.ConnectionKey(2, 1), 10_000.0, change), lambda: clients.node_gone(2, 9_990.0, change)]
    for step in steps if sockets_first else reversed(steps):
        step()
    assert clients.clients["c:app"].links[2].broken
    assert not clients.clients["c:app"].links[1].broken
    clients.sample(250, 500_000.0, change)
    assert clients.clients["c:app"].links[2].broken, "it stays while the client is there"
    clients.node_back(2, change)
    assert set(clients.clients["c:app"].links) == {1}


def test_a_client_that_left_is_gone_after_a_moment() -> None:
    clients, change = Clients(), ChangeSet()
    clients.update(lv.ConnectionKey(1, 1), connection("app"), change)
    clients.remove(lv.ConnectionKey(1, 1), 10_000.0, change)
    clients.sample(250, 10_200.0, change)
    assert "c:app" in clients.clients
    clients.sample(250, 12_000.0, change)
    assert not clients.clients


# --- groups --------------------------------------------------------------------------------------


def test_lag_in_records_and_in_time() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    group = model.groups["billing"]
    assert group.lag == sum(place.lag for place in group.partitions.values()) == 6 * 25
    assert {place.member_id.split("-6")[0] for place in group.partitions.values()} == {"billing-1", "billing-2", "billing-3"}
    # The members stop to read while records flow on.
    cluster.members = 0
    cluster.run(model, 4_000)
    assert group.lag > 7_000
    assert 3_800 <= group.lag_ms <= 4_400
    assert len(group.lag_history) > 10
    assert model.clients["g:billing"].subtitle.startswith("range assignor · lag ")


def test_a_rebalance_is_measured_once_it_is_over() -> None:
    model = ClusterModel()
    samples.running(model)
    assert model.groups["billing"].last_rebalance_ms == 212
    row = next(row for row in model.timeline if "Stable" in row.headline)
    assert row.detail.endswith("3 members · rebalance took 212 ms")
    assert row.link == Link.group("billing")


# --- leadership ----------------------------------------------------------------------------------


def test_bands_touch_each_other_and_gaps_are_measured() -> None:
    history = FailoverHistory()
    assert history.lead(TP, 2, 4, 1_000) == -1
    history.lose(TP, 4_113)
    history.lose(TP, 4_500)
    assert history.longest_gap(0, 5_000) == (887, TP)
    assert history.lead(TP, 3, 5, 5_652) == 1_539
    assert history.lead(TP, 3, 6, 9_000) == -1, "the same leader in a new epoch goes on"
    assert [(band.leader, band.start_ms, band.end_ms) for band in history.bands[TP]] == [
        (2, 1_000, 4_113),
        (-1, 4_113, 5_652),
        (3, 5_652, -1),
    ]
    assert history.longest_gap(6_000, 9_000) == (0.0, None)


def test_a_fencing_tells_its_elections_and_the_first_write() -> None:
    history = FailoverHistory()
    history.mark_fenced(1_000, "fenced", Link.node(2))
    for at_ms in (1_010, 1_011, 1_012, 1_013):
        assert history.count_election(at_ms)
    assert not history.count_election(9_000)
    assert history.count_first_write(1_024)
    assert not history.count_first_write(1_030)
    assert history.marks[-1].label == "fenced, 4 elections, first write acknowledged +24 ms"


# --- timeline ------------------------------------------------------------------------------------


def test_the_story_reads_like_the_story() -> None:
    model = ClusterModel()
    samples.picture(model)
    said = [(row.headline, row.detail) for row in model.timeline[-6:]]
    assert said[0] == ("broker 2 killed", "you · process gone, 9 replicas offline")
    assert said[1] == ("broker 2 fenced", "controller 102 · no heartbeat for 1 527 ms (broker.session.timeout.ms)")
    assert (
        "orders-1 leader 2 → 3, epoch 4 → 5, ISR {2,3,1} → {3,1}",
        "because broker 2 was fenced · leaderless for 1\u2009540 ms · it was in the ISR",
    ) in said
    assert ("payments-0, payments-2, clicks-2: new leaders 3, 1, 3", "same cause · 3 elections") in said
    assert model.timeline[-1].tone is Tone.OK
    numbers = [row.number for row in model.timeline]
    assert numbers == list(range(len(numbers)))


def test_rewritten_and_added_rows_are_told_apart() -> None:
    model = ClusterModel()

    def changed(partition: int, at_ms: float) -> ev.PartitionChanged:
        return ev.PartitionChanged(
            at_ms=at_ms,
            node_id=102,
            topic="orders",
            partition=partition,
            old_leader=2,
            new_leader=3,
            old_leader_epoch=4,
            new_leader_epoch=5,
            old_isr=(2, 3),
            new_isr=(3,),
            cause="broker 2 was fenced",
        )

    change = model.apply([changed(0, 1.0), changed(1, 2.0)], {}, 0, 10.0)
    assert (change.timeline_added, change.timeline_rewritten_from, change.timeline_removed) == (2, -1, 0)
    change = model.apply([changed(2, 3.0)], {}, 0, 11.0)
    assert (change.timeline_added, change.timeline_rewritten_from) == (0, 1)
    assert model.timeline[1].headline == "orders-1, orders-2: new leaders 3, 3"
    assert model.timeline[1].count == 2
    change = model.apply([changed(3, 5_000.0)], {}, 0, 5_000.0)
    assert change.timeline_added == 1, "too late to join"


def test_the_timeline_is_bounded_and_says_what_it_let_go() -> None:
    model = ClusterModel()
    paused = [ev.NodePaused(at_ms=float(at), node_id=7, cause="you") for at in range(ROWS_MAX + 1)]
    for event in paused:
        model._narrator.tell(event)
    change = model.apply([], {}, 0, 1.0)
    assert change.timeline_removed == ROWS_REMOVED_AT_ONCE == model.timeline_removed
    assert len(model.timeline) == ROWS_MAX + 1 - ROWS_REMOVED_AT_ONCE
    assert model.timeline[0].number == ROWS_REMOVED_AT_ONCE
    assert Part.TIMELINE in change


def test_every_event_the_engine_knows_can_be_told() -> None:
    model = ClusterModel()
    values = {"int": 3, "float": 3.0, "str": "word", "bool": True, "tuple[int, ...]": (1, 2)}
    kinds = [kind for kind in vars(ev).values() if isinstance(kind, type) and issubclass(kind, ev.Event) and kind is not ev.Event]
    assert len(kinds) > 20
    for kind in kinds:
        fields = {name: values[str(field.type)] for name, field in kind.__dataclass_fields__.items()}
        model.apply([kind(**fields)], {}, 0, 10.0)  # type: ignore[arg-type]
    assert len({row.kind for row in model.timeline}) >= len(kinds) - 2
    assert all(row.headline for row in model.timeline)


# --- can a write succeed now? ---------------------------------------------------------------------


def test_the_outlook_follows_the_isr() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    partition = model.partition("orders", 1)
    assert partition is not None
    outlook = write_outlook(partition, 2)
    assert [answer.succeeds for answer in outlook.answers] == [True, True, True]
    assert outlook.answers[2].text == "yes: 3 in sync ≥ 2"

    cluster.kill(2)
    cluster.feed(model)
    outlook = write_outlook(partition, 2)
    assert [answer.succeeds for answer in outlook.answers] == [False, False, False]
    follower_died = model.partition("orders", 0)
    assert follower_died is not None
    waiting = write_outlook(follower_died, 2).answers[2]
    assert not waiting.succeeds and waiting.text == "waits: 2 in the ISR does not answer"

    cluster.run(model, samples.SESSION_TIMEOUT_MS + 500)
    outlook = write_outlook(partition, 2)
    assert outlook.answers[2].text == "yes: 2 in sync ≥ 2"
    assert outlook.note == "One more loss and acks=all will fail with NOT_ENOUGH_REPLICAS (19)."
    assert write_outlook(partition, 3).answers[2].text == "no: 2 in sync < 3"


def test_links_are_values() -> None:
    assert Link.replica("orders", 1, 2).topic_partition == TP
    assert Link.of_partition("orders", 1) != Link.replica("orders", 1, 2)
    assert len({Link.node(1), Link.node(1), Link.group("g")}) == 2
    assert str(Link.replica("orders", 1, 2)) == "orders-1 on broker 2"
    assert {link.kind for link in (Link.cluster(), Link.quorum(), Link.failover())} == {
        LinkKind.CLUSTER,
        LinkKind.QUORUM,
        LinkKind.FAILOVER,
    }


def group_moves(at_ms: float, old: str, new: str, generation: int, cause: str, members: int = 3) -> ev.GroupStateChanged:
    return ev.GroupStateChanged(
        at_ms=at_ms, node_id=1, group_id="billing", old_state=old, new_state=new, generation=generation, cause=cause, members=members
    )


def test_a_rebalance_has_one_row_for_its_course_and_one_for_its_end() -> None:
    model = ClusterModel()
    preparing, completing = "PreparingRebalance", "CompletingRebalance"
    model.apply([group_moves(1.0, "Empty", preparing, 0, "member a joined", 1)], {}, 0, 1.0)
    assert [row.headline for row in model.timeline] == ["billing Empty → PreparingRebalance, generation 0"]
    story = [
        group_moves(2.0, preparing, completing, 1, "every member joined", 1),
        group_moves(3.0, completing, preparing, 1, "member b joined", 2),
        group_moves(2_004.0, preparing, completing, 2, "every member joined", 2),
        group_moves(2_005.0, completing, "Stable", 2, "leader a assigned it", 2),
    ]
    model.apply(story, {}, 0, 2_010.0)
    assert [(row.headline, row.detail) for row in model.timeline] == [
        ("billing rebalances, generation 0 → 2", "member a joined, member b joined · 2 members"),
        (
            "billing CompletingRebalance → Stable, generation 2",
            "leader a assigned it · 2 members · rebalance took 2\u2009004 ms",
        ),
    ]
    model.apply([group_moves(9_000.0, "Stable", preparing, 2, "member b left", 1)], {}, 0, 9_000.0)
    assert model.timeline[-1].headline == "billing Stable → PreparingRebalance, generation 2", "the next one has a row of its own"


def _joined(topic: str, partition: int, at_ms: float = 1.0) -> ev.PartitionChanged:
    """Broker 2 comes into the ISR of a partition that broker 1 leads."""
    return ev.PartitionChanged(
        at_ms=at_ms,
        node_id=101,
        topic=topic,
        partition=partition,
        old_leader=1,
        new_leader=1,
        old_leader_epoch=2,
        new_leader_epoch=2,
        old_isr=(1,),
        new_isr=(1, 2),
        cause="replica 2 caught up",
    )


def test_who_joins_the_isr_after_a_cut_is_told_below_it() -> None:
    model = ClusterModel()

    cut = ev.LogTruncated(at_ms=3.0, node_id=2, topic="orders", partition=0, from_offset=9, to_offset=5, cause="broker 1 leads")
    model.apply([_joined("orders", 1, 1.0), _joined("orders", 2, 2.0), cut, _joined("orders", 0, 4.0)], {}, 0, 5.0)
    assert [row.headline for row in model.timeline] == [
        "orders-1, orders-2: node 2 joined the ISR",
        "orders-0 on node 2: log cut back to 5",
        "orders-0 ISR {1} → {1,2}",
    ]


def test_many_partitions_of_one_topic_are_counted_and_the_hosts_own_topics_not_told() -> None:
    model = ClusterModel()

    model.expect_node(2, is_broker=True, is_controller=False)
    model.apply([_joined("__consumer_offsets", number) for number in range(50)], {}, 0, 1.0)
    model.apply([_joined("__kafkalab_ready", 0)], {}, 0, 1.0)
    model.apply([ev.TopicCreated(at_ms=1.0, node_id=101, topic="__kafkalab_ready", partitions=1, replication_factor=3)], {}, 0, 1.0)
    assert [(row.headline, row.detail) for row in model.timeline] == [
        ("50 partitions of __consumer_offsets: broker 2 joined the ISR", "replica 2 caught up · 50 partitions")
    ]


def test_lag_in_time_is_read_between_two_samples() -> None:
    marks = _Watermarks()
    marks.add(1_000.0, 100)
    marks.add(1_250.0, 200)
    assert marks.passed_at(150) == 1_125.0
    assert marks.passed_at(200) == -1.0, "nothing is behind"
    marks.add(60_000.0, 300)
    assert marks.passed_at(200) == 60_000.0 - SAMPLE_INTERVAL_MS, "nothing came in the minute before"


def test_a_follower_is_never_shown_ahead_of_its_leader() -> None:
    model = ClusterModel()
    samples.running(model)
    partition = model.topics["orders"].partitions[0]
    leader = partition.leader_replica
    assert leader is not None
    follower = next(node_id for node_id in partition.isr if node_id != leader.node_id)
    level = lv.ReplicaLevel(
        log_start_offset=0,
        log_end_offset=leader.log_end_offset + 7,
        high_watermark=leader.high_watermark,
        size_bytes=leader.size_bytes,
        segments=1,
        is_leader=False,
        leader_epoch=partition.leader_epoch,
    )
    model.apply([], {lv.ReplicaKey(follower, "orders", 0): level}, 0, model.now_ms + 1)
    assert leader.log_end_offset == partition.replicas[follower].log_end_offset == level.log_end_offset
    assert partition.replicas[follower].lag == 0


def test_a_start_that_was_refused_leaves_nothing_starting() -> None:
    model = ClusterModel()
    model.expect_node(1, is_broker=True, is_controller=False)
    model.expect_node(101, is_broker=False, is_controller=True)
    change = model.nothing_started()
    assert {node.state for node in model.nodes.values()} == {NodeState.STOPPED}
    assert model.health.text == "Not started" and model.notice is None and Part.HEALTH in change
    model.apply([ev.NodeStarted(at_ms=2.0, node_id=1, role="broker", address="127.0.0.1:9092", pid=1)], {}, 0, 2.0)
    assert model.nodes[1].state is NodeState.STARTING


def test_the_notice_tells_of_writes_that_wait_for_the_isr() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.kill(2)
    cluster.run(model, 500)
    assert model.notice is not None and "acks=all elsewhere until the ISR shrinks" in model.notice.text
    cluster.pause(3)
    cluster.run(model, 500)
    assert model.notice is not None and model.notice.text.startswith("Brokers 2 and 3 are out of service.")


def test_things_are_called_as_a_person_calls_them() -> None:
    model = ClusterModel()
    samples.running(model)
    client = next(client for client in model.clients.values() if client.kind == "producer")
    assert model.name_of(Link.node(2)) == "broker 2"
    assert model.name_of(client.link) == client.title
    assert model.name_of(Link.topic("orders")) == "topic orders"
    assert sum(model.connections_of(node_id) for node_id in model.nodes) == len(model.connections)


def test_why_somebody_leads_and_where_replicas_move_is_told() -> None:
    model = ClusterModel()

    def changed(at_ms: float, **fields: Any) -> ev.PartitionChanged:
        plain: dict[str, Any] = {
            "old_leader": 1,
            "new_leader": 1,
            "old_leader_epoch": 4,
            "new_leader_epoch": 4,
            "old_isr": (1, 2),
            "new_isr": (1, 2),
            "cause": "broker 2 was fenced",
        }
        return ev.PartitionChanged(at_ms=at_ms, node_id=102, topic="orders", partition=0, **(plain | fields))

    def moved(at_ms: float, state: str, **fields: Any) -> ev.ReassignmentChanged:
        plain: dict[str, Any] = {"old_replicas": (1, 2), "new_replicas": (3, 1, 2), "adding": (3,), "removing": (1, 2)}
        return ev.ReassignmentChanged(
            at_ms=at_ms, node_id=102, topic="orders", partition=0, state=state, cause="it was asked for", **(plain | fields)
        )

    model.apply(
        [
            changed(1.0, new_isr=(1,), new_elr=(2,)),
            changed(5_000.0, old_leader=-1, new_leader=2, old_isr=(), new_isr=(2,), election="elr", cause="broker 2 was unfenced"),
            changed(9_000.0, old_leader=-1, new_leader=2, old_isr=(), new_isr=(2,), election="unclean", cause="somebody asked"),
            moved(12_000.0, "started"),
            moved(13_000.0, "done", new_replicas=(3,), adding=(), removing=()),
        ],
        {},
        0,
        14_000.0,
    )
    said = [(row.headline, row.detail) for row in model.timeline]
    assert said[0] == ("orders-0 ISR {1,2} → {1}", "broker 2 was fenced · still eligible to lead: {2}")
    assert said[1][1].startswith("because broker 2 was unfenced · an eligible leader replica: no record is lost")
    assert said[2][1].startswith("because somebody asked · unclean: records may be lost")
    assert said[3:] == [
        ("orders-0 moves to node 3, away from node 1, node 2", "it was asked for"),
        ("orders-0 has moved: replicas {3}", "it was asked for"),
    ]


def test_eligible_leaders_and_moves_are_known_of_each_partition() -> None:
    model = ClusterModel()
    level = lv.PartitionLevel(
        leader=1, leader_epoch=2, partition_epoch=3, replicas=(3, 1, 2), isr=(1,), elr=(2,), adding=(3,), removing=(1, 2)
    )
    model.apply([], {lv.PartitionKey("orders", 0): level}, 0, 1.0)
    partition = model.partition("orders", 0)
    assert partition is not None and (partition.elr, partition.adding, partition.removing) == ((2,), (3,), (1, 2))
