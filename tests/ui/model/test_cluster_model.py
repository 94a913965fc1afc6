"""The model as a whole: states, leaders, health, and that all numbers agree."""

from __future__ import annotations

import re
from itertools import pairwise
from time import perf_counter

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry import events as ev
from kafkalab.engine.telemetry import levels as lv
from kafkalab.ui.model.changes import Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.states import HealthLevel, NodeState, ReplicaRole
from tests.support import telemetry_samples as samples


def assert_numbers_agree(model: ClusterModel) -> None:
    """What is counted along the way equals what is there."""
    partitions = [partition for topic in model.topics.values() for partition in topic.partitions.values()]
    assert model.partition_count == len(partitions)
    assert model.under_replicated == {p.topic_partition for p in partitions if p.is_under_replicated}
    assert model.leaderless == {p.topic_partition for p in partitions if p.is_leaderless}
    for node in model.nodes.values():
        roles = [p.replicas[node.node_id].role for p in partitions if node.node_id in p.replica_ids]
        assert node.hosts == len(roles)
        assert node.leads == roles.count(ReplicaRole.LEADER), node
        assert node.in_sync == roles.count(ReplicaRole.LEADER) + roles.count(ReplicaRole.IN_SYNC)
    assert sum(node.leads for node in model.nodes.values()) == len(partitions) - len(model.leaderless)
    for partition in partitions:
        bands = model.failover.bands[partition.topic_partition]
        assert bands[-1].leader == partition.serving_leader
        assert all(one.end_ms == other.start_ms for one, other in pairwise(bands))
    assert model.health.under_replicated == len(model.under_replicated)
    assert model.health.leaderless == len(model.leaderless)


def test_a_running_cluster_is_healthy_and_its_numbers_agree() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    assert_numbers_agree(model)
    assert model.health.level is HealthLevel.HEALTHY
    assert model.notice is None
    assert [node.node_id for node in model.brokers] == [1, 2, 3]
    assert [node.node_id for node in model.controllers] == [101, 102, 103]
    assert all(node.state is NodeState.IN_SERVICE for node in model.nodes.values())
    assert model.quorum.leader_id == cluster.controller
    assert [topic.name for topic in model.sorted_topics] == ["orders", "payments", "clicks", "__consumer_offsets"]
    assert [topic.colour for topic in model.sorted_topics] == [0, 1, 2, -1]
    assert model.client_count == 4


def test_rates_of_nodes_clients_and_partitions_tell_the_same() -> None:
    model = ClusterModel()
    samples.running(model)
    assert abs(model.produce_rate - samples.RECORD_BYTES * 4_000) / model.produce_rate < 0.1
    assert model.produce_rate == sum(node.produced.rate for node in model.nodes.values())
    assert abs(sum(client.produce_rate for client in model.clients.values()) - model.produce_rate) < 1
    assert abs(sum(client.fetch_rate for client in model.clients.values()) - model.fetch_rate) < 1
    records = sum(p.records.rate for topic in model.topics.values() for p in topic.partitions.values())
    assert abs(records * samples.RECORD_BYTES - model.produce_rate) < 1


def test_a_new_epoch_of_the_same_leader_is_no_election() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    partition = model.partition("orders", 0)
    assert partition is not None
    leader, epoch = partition.leader, partition.leader_epoch
    isr = tuple(node_id for node_id in partition.isr if node_id == leader)
    moved = ev.PartitionChanged(
        at_ms=cluster.now_ms,
        node_id=102,
        topic="orders",
        partition=0,
        old_leader=leader,
        new_leader=leader,
        old_leader_epoch=epoch,
        new_leader_epoch=epoch + 1,
        old_isr=partition.isr,
        new_isr=isr,
        cause="its replicas were reassigned",
    )
    written = ev.FirstWriteAcknowledged(
        at_ms=cluster.now_ms + 120,
        node_id=leader,
        topic="orders",
        partition=0,
        leader_epoch=epoch + 1,
        offset=7,
        client_id="shop",
    )
    model.apply([moved, written], {}, 0, cluster.now_ms + 120)
    assert model.timeline[-1].detail == "orders-0 @ 7", "nobody was elected: the write did not come after an election"


def test_a_groups_card_says_who_came_when_the_explorer_does() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    client = next(client for client in model.clients.values() if client.kind == "group")
    key = lv.GroupKey(client.group_id)
    cluster.feed(model)
    group = model.groups[client.group_id]
    level = lv.GroupLevel(
        state=group.state,
        generation=group.generation,
        protocol_type=group.protocol_type,
        protocol=group.protocol,
        leader_id=group.leader_id,
        coordinator_id=group.coordinator_id,
        members=group.members[:1],
    )
    model.apply([], {key: level}, 0, cluster.now_ms + 10)
    change = model.apply([], {}, 0, cluster.now_ms + 1_000)
    assert client.title == f"{client.group_id} (1 member)"
    assert Part.CLIENTS in change, "the card is drawn anew, not only its second line"


def test_a_kill_takes_leaders_away_at_once_and_fencing_gives_them_back() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    led = model.nodes[2].leads
    cluster.kill(2)
    change = cluster.feed(model)
    assert_numbers_agree(model)
    assert change.touches(Part.NODES) and change.touches(Part.PARTITIONS) and change.touches(Part.HEALTH)
    assert model.nodes[2].state is NodeState.KILLED
    assert len(model.leaderless) == led
    assert model.health.level is HealthLevel.OFFLINE
    assert model.health.text == f"Offline · {led} partitions have no leader"
    assert model.notice is not None and model.notice.text.startswith("Broker 2 is down.")

    cluster.run(model, samples.SESSION_TIMEOUT_MS + 500)
    assert_numbers_agree(model)
    assert not model.leaderless
    assert model.nodes[2].leads == 0
    assert model.nodes[2].fenced_at_ms > 0
    assert model.health.level is HealthLevel.DEGRADED
    assert model.health.text == f"Degraded · {len(model.under_replicated)} under-replicated"
    gap_ms, where = model.failover.longest_gap(0, model.now_ms, [TopicPartition("orders", 1)])
    assert where == TopicPartition("orders", 1)
    assert 9_000 < gap_ms < 9_100
    assert "New leaders were elected after 9.0" in model.notice.text
    # The first write comes 14 ms after the first of the elections, and is told as what it is.
    led_ms, written_ms = (float(seconds) * 1000 for seconds in re.findall(r"after (9\.\d+) s", model.notice.text))
    assert led_ms < written_ms <= led_ms + 14
    assert [action.action for action in model.notice.actions] == ["restart", "show", "why"]


def test_a_broker_that_looks_through_its_logs_is_on_its_way() -> None:
    model = ClusterModel()
    samples.failover_story(model)
    assert model.nodes[2].state is NodeState.KILLED
    recovered = ev.LogRecovered(at_ms=model.now_ms, node_id=2, topic="orders", partition=0, log_end_offset=7, cut_bytes=0)
    model.apply([recovered], {}, 0, model.now_ms)
    assert model.nodes[2].state is NodeState.STARTING
    assert_numbers_agree(model)
    model.apply([ev.NodeCrashed(at_ms=model.now_ms, node_id=2, cause="its port is taken")], {}, 0, model.now_ms)
    assert model.nodes[2].state is NodeState.CRASHED


def test_a_restarted_broker_is_behind_then_in_sync_and_all_is_well() -> None:
    model = ClusterModel()
    cluster = samples.failover_story(model)
    cluster.restart(2)
    cluster.run(model, 100)
    assert_numbers_agree(model)
    assert model.nodes[2].state is NodeState.IN_SERVICE
    assert model.partition("orders", 0).replicas[2].role is ReplicaRole.BEHIND  # type: ignore[union-attr]
    cluster.run(model, 20_000)
    assert_numbers_agree(model)
    assert model.health.level is HealthLevel.HEALTHY
    assert model.notice is None
    assert not any(link.broken for client in model.clients.values() for link in client.links.values())


def test_a_broker_restarted_before_its_fencing_is_not_in_service_until_it_registered() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.kill(2)
    cluster.run(model, 1_000)
    started = ev.NodeStarted(at_ms=cluster.now_ms, node_id=2, role="broker", address="127.0.0.1:9093", pid=7)
    model.apply([started], {}, 0, cluster.now_ms)
    assert model.nodes[2].state is NodeState.STARTING
    assert model.partition("orders", 1).is_leaderless  # type: ignore[union-attr]
    assert_numbers_agree(model)
    cluster.restart(2)
    cluster.run(model, 3_000)
    assert model.nodes[2].state is NodeState.IN_SERVICE
    assert_numbers_agree(model)


def test_a_pause_within_the_session_gives_the_leaders_back_to_the_same_broker() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.pause(2)
    cluster.run(model, 2_000)
    assert_numbers_agree(model)
    assert model.nodes[2].state is NodeState.PAUSED
    assert model.health.level is HealthLevel.OFFLINE
    assert model.notice is not None and model.notice.actions[0].action == "resume"
    cluster.resume(2)
    cluster.run(model, 500)
    assert_numbers_agree(model)
    assert not model.leaderless
    bands = model.failover.bands[TopicPartition("orders", 1)]
    assert [band.leader for band in bands] == [2, -1, 2]
    assert 1_950 <= bands[1].length_ms(0) <= 2_050


def test_a_controlled_stop_leaves_no_gap() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.stop(3)
    cluster.run(model, 1_000)
    assert_numbers_agree(model)
    assert model.nodes[3].state is NodeState.STOPPED
    assert model.failover.longest_gap(0, model.now_ms)[0] == 0
    assert model.notice is not None and model.notice.text == "Broker 3 is stopped. Every partition has a leader: writes go on."


def test_the_active_controllers_death_shows_and_its_successor_ends_the_gap() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.kill_controller(102)
    cluster.run(model, 700)
    assert model.quorum.leader_id == -1
    assert model.health.level is HealthLevel.NO_QUORUM
    cluster.elect(103)
    change = cluster.feed(model)
    assert Part.QUORUM in change
    assert model.quorum.leader_id == 103 and model.quorum.epoch == 4
    assert [band.leader for band in model.failover.quorum] == [102, -1, 103]
    assert model.failover.quorum[1].length_ms(0) == 700
    assert model.health.text == "Degraded · controller 102 down"
    assert model.notice is not None and model.notice.text == "Controller 102 is down. 2 of 3 controllers still hold the quorum."
    assert "nobody led for 700 ms" in next(row.detail for row in reversed(model.timeline) if row.glyph == "♛")
    cluster.run(model, 500)
    assert model.quorum.leader_id == 103


def test_without_a_quorum_the_notice_says_what_still_works() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    cluster.kill_controller(102)
    cluster.run(model, 100)
    assert model.notice is not None and "Reads and writes go on" in model.notice.text
    cluster.kill(1)
    cluster.run(model, 100)
    assert model.notice is not None and "none can be elected; the others go on" in model.notice.text
    cluster.kill(2)
    cluster.kill(3)
    cluster.run(model, 100)
    assert model.notice is not None and model.notice.text.endswith("nothing can be read or written.")
    assert model.notice.actions[0].link == model.nodes[102].link, "without a quorum no broker comes back"


def test_a_deleted_topic_leaves_nothing_behind() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    assert any(tp.topic == "orders" for tp in model.groups["billing"].partitions)
    cluster.delete_topic("orders")
    change = cluster.feed(model)
    assert "orders" in change.topics
    assert "orders" not in model.topics
    assert not any(tp.topic == "orders" for tp in model.groups["billing"].partitions)
    assert not any(tp.topic == "orders" for tp in model.failover.bands)
    assert not model.exists(Link.topic("orders")) and not model.exists(Link.of_partition("orders", 0))
    assert_numbers_agree(model)


def test_a_broker_that_speaks_of_a_deleted_topic_does_not_bring_it_back() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    key = lv.ReplicaKey(1, "orders", 0)
    late = lv.ReplicaLevel(
        is_leader=True, leader_epoch=0, log_start_offset=0, log_end_offset=7, high_watermark=7, size_bytes=700, segments=1
    )
    cluster.delete_topic("orders")
    cluster.feed(model)
    model.apply([], {key: late}, 0, cluster.now_ms)
    assert "orders" not in model.topics
    assert_numbers_agree(model)
    model.apply([], {key: None}, 0, cluster.now_ms)
    cluster.create_topic(samples.TopicSpec("orders", 1))
    _, levels, _ = cluster.drain()
    model.apply([], {key: level for key, level in levels.items() if key.kind != "replica"}, 0, cluster.now_ms)
    assert model.topics["orders"].partitions[0].replicas[1].log_end_offset == -1


def test_a_broker_that_speaks_before_the_controller_is_heard() -> None:
    cluster = samples.SampleCluster()
    _, levels, _ = cluster.drain()
    replicas = {key: level for key, level in levels.items() if isinstance(key, lv.ReplicaKey)}
    assert replicas
    one, other = ClusterModel(), ClusterModel()
    one.apply([], levels, 0, cluster.now_ms)
    other.apply([], replicas, 0, cluster.now_ms)
    assert not other.topics
    other.apply([], {key: level for key, level in levels.items() if key not in replicas}, 0, cluster.now_ms)
    for key in replicas:
        assert other.topics[key.topic].partitions[key.partition].replicas == one.topics[key.topic].partitions[key.partition].replicas
    assert_numbers_agree(other)


def test_levels_alone_tell_the_whole_state_to_one_who_comes_late() -> None:
    early, late = ClusterModel(), ClusterModel()
    cluster = samples.SampleCluster()
    events, levels, _ = cluster.drain()
    early.apply(events, levels, 0, cluster.now_ms)
    late.apply([], levels, 0, cluster.now_ms)
    assert_numbers_agree(late)
    assert late.health.level is HealthLevel.HEALTHY
    assert {node_id: (node.is_broker, node.is_controller, node.state) for node_id, node in late.nodes.items()} == {
        node_id: (node.is_broker, node.is_controller, node.state) for node_id, node in early.nodes.items()
    }


def test_the_order_of_levels_does_not_matter() -> None:
    cluster = samples.SampleCluster()
    _, levels, _ = cluster.drain()
    one, other = ClusterModel(), ClusterModel()
    one.apply([], levels, 0, cluster.now_ms)
    other.apply([], dict(reversed(levels.items())), 0, cluster.now_ms)
    assert [topic.colour for topic in one.sorted_topics] == [topic.colour for topic in other.sorted_topics]
    assert one.health == other.health
    assert_numbers_agree(other)


def test_an_expected_node_is_shown_before_it_speaks() -> None:
    model = ClusterModel()
    model.expect_node(1, is_broker=True, is_controller=False, address="127.0.0.1:9092")
    model.expect_node(101, is_broker=False, is_controller=True)
    assert [node.name for node in model.nodes.values()] == ["broker 1", "controller 101"]
    assert model.health.level is HealthLevel.STARTING
    assert all(node.state is NodeState.STARTING for node in model.nodes.values())


def test_dropped_events_are_told() -> None:
    model = ClusterModel()
    assert Part.DROPPED in model.apply([], {}, 7, 1.0)
    assert model.dropped == 7
    assert Part.DROPPED not in model.apply([], {}, 7, 2.0)


def test_what_the_host_makes_for_itself_takes_no_colour() -> None:
    model = ClusterModel()
    topics = (samples.TopicSpec("__kafkalab_ready", 1), samples.TopicSpec("orders", 1))
    samples.SampleCluster(topics=topics).feed(model)
    assert model.topics["__kafkalab_ready"].colour == -1
    assert model.topics["orders"].colour == 0


def test_nothing_new_changes_nothing() -> None:
    model = ClusterModel()
    cluster = samples.running(model)
    assert not model.apply([], {}, 0, cluster.now_ms + 1)


def test_the_cost_is_what_changed_and_not_what_exists() -> None:
    model = ClusterModel()
    cluster = samples.big(model)
    assert model.partition_count == 1_000
    key = lv.ReplicaKey(1, "topic-0", 0)
    level = lv.ReplicaLevel(
        is_leader=True, leader_epoch=4, log_start_offset=0, log_end_offset=9, high_watermark=9, size_bytes=900, segments=1
    )
    begun = perf_counter()
    for _ in range(100):
        model.apply([], {key: level}, 0, cluster.now_ms)
    # A walk over a thousand partitions would take some fifty times as long.
    assert (perf_counter() - begun) / 100 < 0.002
    assert_numbers_agree(model)
