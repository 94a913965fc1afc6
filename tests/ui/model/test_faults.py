"""Links that are broken on purpose, and what the window makes of them: without a window."""

from __future__ import annotations

import pytest

from kafkalab.engine.telemetry import events as ev
from kafkalab.engine.telemetry import levels as lv
from kafkalab.ui.model.changes import Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.faults import CLIENTS, Faults, describe_direction, describe_offset, pair_of, party_list
from kafkalab.ui.model.links import Link
from kafkalab.ui.model.outlook import write_outlook
from kafkalab.ui.model.states import HealthLevel, Tone
from tests.support import telemetry_samples as samples


def _state(source: int, target: int, **what: float) -> lv.LinkState:
    return lv.LinkState(
        source,
        target,
        bool(what.get("cut")),
        what.get("delay", 0.0),
        what.get("jitter", 0.0),
        what.get("loss", 0.0),
        what.get("slow", 0.0),
    )


def _name(node_id: int) -> str:
    return f"controller {node_id}" if node_id > 100 else f"broker {node_id}"


@pytest.fixture
def model() -> ClusterModel:
    return ClusterModel()


@pytest.fixture
def cluster(model: ClusterModel) -> samples.SampleCluster:
    return samples.running(model)


# --- what is wrong ------------------------------------------------------------------------------------------


def test_a_direction_in_words() -> None:
    assert describe_direction(_state(1, 2, cut=1, delay=5)) == "cut"
    assert describe_direction(_state(1, 2, delay=100, jitter=20)) == "100 ms ± 20 ms late"
    assert describe_direction(_state(1, 2, delay=100, loss=0.1, slow=1_000)) == "100 ms late, 10 % lost, 1.00 kB/s"
    assert describe_offset(-2.5) == "2.5 s behind" and describe_offset(3_600) == "1 h 00 min ahead"


def test_both_directions_are_one_link() -> None:
    faults = Faults()
    faults.set([_state(2, 1, cut=1), _state(1, 2, cut=1), _state(CLIENTS, 1, delay=50), _state(102, 3, cut=1)])
    assert [(link.a, link.b) for link in faults.links] == [(1, CLIENTS), (1, 2), (3, 102)]
    both, late, one_way = faults.between(1, 2), faults.between(CLIENTS, 1), faults.between(3, 102)
    assert both is not None and both.is_alike and both.words(_name) == "cut"
    assert late is not None and late.words(_name) == "clients → broker 1 50 ms late" and not late.is_cut
    assert late.short(1) == "← 50 ms late" and late.short(CLIENTS) == "→ 50 ms late"
    assert one_way is not None and one_way.words(_name) == "controller 102 → broker 3 cut"
    assert faults.cut_off_from(1, [2, 3]) == [2] and faults.is_cut(3, 102) and len(faults.cuts) == 2
    faults.set([])
    assert not faults and faults.between(1, 2) is None


def test_parties_of_one_kind_share_their_noun() -> None:
    assert pair_of(CLIENTS, 3) == (3, CLIENTS) and pair_of(102, 3) == (3, 102)
    assert party_list([101, 103, 1, 2], _name) == "controllers 101, 103 and brokers 1, 2"
    assert party_list([CLIENTS, 7], _name) == "clients and broker 7"


# --- what is told of it -------------------------------------------------------------------------------------


def test_isolating_a_node_is_one_row_and_one_mark(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    cluster.isolate(102)
    change = cluster.feed(model)
    assert Part.FAULTS in change
    row = model.timeline[-1]
    assert (row.headline, row.tone) == ("controller 102 is cut off from brokers 1, 2, 3 and controllers 101, 103", Tone.ERROR)
    assert row.link == Link.node(102)
    assert [mark.label for mark in model.failover.marks] == ["controller 102 cut off"]
    cluster.run(model, 500)
    cluster.heal()
    cluster.feed(model)
    assert model.timeline[-1].headline == "controller 102 is connected again with brokers 1, 2, 3 and controllers 101, 103"
    assert model.failover.marks[-1].label == "controller 102 healed"
    assert not model.faults


def test_single_links_have_rows_of_their_own(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    before = len(model.timeline)
    cluster.cut(1, 2)
    cluster.run(model, 500)
    cluster.isolate(3, CLIENTS)
    cluster.run(model, 500)
    cluster.delay(1, 3, 100)
    cluster.jump_clock(2, -30)
    cluster.feed(model)
    rows = [row for row in model.timeline[before:] if row.kind.startswith(("Link", "Clock"))]
    assert [row.headline for row in rows] == [
        "broker 2 hears nothing from broker 1",
        "broker 3 and clients are cut off from each other",
        "the link between broker 1 and broker 3: 100 ms late",
        "the clock of broker 2 jumped by -30 s",
    ]
    assert rows[0].link == Link.between(1, 2) and rows[1].link == Link.between(3, CLIENTS)
    assert model.nodes[2].clock_offset_s == -30 and model.faults.clocks == {2: -30}
    assert model.name_of(Link.between(3, CLIENTS)) == "link between broker 3 and clients"
    assert model.exists(Link.between(1, 2)) and not model.exists(Link.between(1, 99))


def test_a_healthy_cluster_with_a_cut_link_is_not_called_healthy(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    assert model.health.level is HealthLevel.HEALTHY
    cluster.delay(1, 2, 100)
    cluster.feed(model)
    assert model.health.level is HealthLevel.HEALTHY, "late is not broken"
    cluster.cut(1, 2)
    cluster.feed(model)
    assert model.health.text == "Degraded · 1 link cut"
    assert model.notice is not None
    assert model.notice.text.startswith("Broker 2 hears nothing from broker 1. acks=all waits on ")
    assert [action.action for action in model.notice.actions] == ["heal", "show", "why"]
    cluster.heal(1, 2)
    cluster.feed(model)
    assert model.health.level is HealthLevel.HEALTHY and model.notice is None


def test_a_controller_without_a_majority_leads_nobody(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    cluster.isolate(102, 101)
    cluster.feed(model)
    assert model.quorum.leader_id == 102, "it and 103 are two of three"
    cluster.now_ms += 1_000
    cut_at_ms = cluster.now_ms
    cluster.cut(102, 103)
    cluster.now_ms += 40
    cluster.feed(model)
    assert model.quorum.leader_id == -1 and model.health.level is HealthLevel.NO_QUORUM
    assert (model.failover.quorum[-1].leader, model.failover.quorum[-1].start_ms) == (-1, cut_at_ms)
    cluster.now_ms += 2_000
    cluster.dead_controllers.add(102)
    cluster.elect(103)
    cluster.feed(model)
    assert model.quorum.leader_id == 103
    won = model.quorum.elections[-1]
    assert (won.leader, won.cause, won.gap_ms) == (103, "the leader was silent", 2_040.0)


def test_a_controller_that_was_healed_in_time_leads_on(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    cluster.isolate(102)
    cluster.feed(model)
    assert model.quorum.leader_id == -1
    cluster.run(model, 300)
    cluster.heal(102)
    cluster.feed(model)
    assert model.quorum.leader_id == 102
    assert [band.leader for band in model.failover.quorum][-2:] == [-1, 102]


# --- elections ----------------------------------------------------------------------------------------------


def test_who_may_lead_and_who_does() -> None:
    model = ClusterModel()
    cluster = samples.elr_story(model)
    partition = model.partition("orders", 2)
    assert partition is not None and partition.election is not None
    assert (partition.leader, partition.isr, partition.elr) == (1, (1,), (3,))
    assert (partition.election.right, partition.election.cause) == ("isr", "broker 3 was fenced")
    cluster.kill(1)
    cluster.run(model, 2_000)
    assert partition.is_leaderless and partition.elr == (1, 3) and partition.last_known_elr == (1,)
    assert partition.election is not None and partition.election.right == "none"
    note = write_outlook(partition, 2).note
    assert "broker 1 or 3 of the ELR is back in service: it has every committed record" in note


def test_who_is_eligible_has_every_committed_record() -> None:
    model = ClusterModel()
    cluster = samples.elr_story(model)
    partition = model.partition("orders", 2)
    assert partition is not None and partition.elr == (3,)
    old = lv.ReplicaLevel(
        is_leader=False, leader_epoch=4, log_start_offset=0, log_end_offset=7, high_watermark=7, size_bytes=700, segments=1
    )
    model.apply([], {lv.ReplicaKey(3, "orders", 2): old, lv.ReplicaKey(2, "orders", 2): old}, 0, cluster.now_ms)
    assert partition.replicas[3].log_end_offset == partition.high_watermark, "the sample was taken before the last records came"
    assert partition.replicas[2].log_end_offset == 7


def test_an_unclean_election_says_what_it_cost() -> None:
    model = ClusterModel()
    cluster = samples.elr_story(model)
    partition = model.partition("orders", 0)
    assert partition is not None
    committed = partition.high_watermark
    cluster.kill(1)
    cluster.run(model, 2_000)
    # Broker 2 had left the ISR long before, with what it had then.
    held = cluster.parts["orders", 0].ends[2]
    cluster.lead("orders", 0, 2, "unclean", "an unclean election was asked for")
    cluster.feed(model)
    assert partition.election is not None
    assert partition.election.lost == committed - held > 0
    row = next(row for row in reversed(model.timeline) if row.headline.startswith("orders-0 leader"))
    assert row.tone is Tone.ERROR and row.detail.endswith(f"unclean: {partition.election.loss_words}")
    mark = next(mark for mark in model.failover.marks if mark.label.startswith("orders-0 unclean: "))
    assert mark.tone is Tone.ERROR


def test_what_the_old_leader_cuts_off_tells_the_loss() -> None:
    model = ClusterModel()
    cluster = samples.elr_story(model)
    partition = model.partition("orders", 0)
    assert partition is not None
    committed = partition.high_watermark
    cluster.lead("orders", 0, 2, "unclean", "asked for")
    cut = ev.LogTruncated(
        at_ms=cluster.now_ms, node_id=1, topic="orders", partition=0, from_offset=committed + 50, to_offset=committed - 7_000, cause="epoch"
    )
    cluster.feed(model)
    before = partition.election
    model.apply([cut], {}, 0, cluster.now_ms)
    assert before is not None and partition.election is not None
    assert partition.election.lost == max(before.lost, 7_000)


def test_a_change_of_the_elr_alone_is_told(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    part = cluster.parts["orders", 0]
    event = ev.PartitionChanged(
        at_ms=cluster.now_ms, node_id=102, topic="orders", partition=0, old_leader=part.leader, new_leader=part.leader,
        old_leader_epoch=part.leader_epoch, new_leader_epoch=part.leader_epoch, old_isr=part.isr, new_isr=part.isr,
        cause="broker 3 stopped uncleanly", old_elr=(3,), new_elr=(),
    )  # fmt: skip
    model.apply([event], {}, 0, cluster.now_ms)
    assert (model.timeline[-1].headline, model.timeline[-1].tone) == ("orders-0 ELR {3} → {}", Tone.WARN)


def test_replicas_that_only_come_do_not_make_it_under_replicated(model: ClusterModel) -> None:
    cluster = samples.running(model, topics=(samples.TopicSpec("orders", 1, 2),))
    cluster.reassign("orders", 0, (3,), (1,))
    cluster.feed(model)
    partition = model.partition("orders", 0)
    assert partition is not None and partition.is_moving
    assert partition.replica_ids == (1, 2, 3) and not partition.is_under_replicated


# --- can a write succeed now? -------------------------------------------------------------------------------


def test_below_min_isr_the_high_watermark_is_frozen() -> None:
    model = ClusterModel()
    cluster = samples.elr_story(model)
    partition = model.partition("orders", 0)
    assert partition is not None
    frozen = partition.high_watermark
    cluster.run(model, 1_000)
    assert partition.high_watermark == frozen < partition.log_end_offset
    outlook = write_outlook(partition, 2)
    zero, one, every = outlook.answers
    assert zero.succeeds and one.succeeds and not every.succeeds
    assert one.tone is Tone.WARN and one.glyph == "▲" and one.text.startswith("yes, unread past ")
    assert "consumers see nothing newer" in outlook.note


def test_a_topic_with_fewer_replicas_than_it_asks_for_is_content_with_all() -> None:
    model = ClusterModel()
    samples.running(model, topics=(samples.TopicSpec("orders", 1, 1),))
    partition = model.partition("orders", 0)
    assert partition is not None
    assert write_outlook(partition, 2).answers[2].text == "yes: 1 in sync ≥ 1"


def test_the_notice_tells_the_worst(model: ClusterModel) -> None:
    cluster = samples.elr_story(model)
    assert model.notice is not None
    assert model.notice.text == "Brokers 2 and 3 are down. 9 partitions have fewer in sync than min.insync.replicas: acks=all is refused."
    cluster.kill(1)
    cluster.run(model, 2_000)
    assert model.notice is not None
    assert model.notice.text == "Brokers 1, 2 and 3 are down. No broker is in service: nothing can be read or written."
    assert model.notice.actions[0].label == "Restart broker 1", "it was the last in sync: the others could not lead"


def test_the_notice_tells_what_a_cut_costs(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    def notice() -> str:
        cluster.feed(model)
        assert model.notice is not None
        return model.notice.text

    led = model.nodes[3].leads
    cluster.isolate(3, CLIENTS)
    assert notice() == (
        f"Broker 3 is cut off from clients. No client reaches the leader of {led} partitions: reads and writes there time out."
    )
    cluster.heal()
    cluster.isolate(101)
    assert notice() == (
        "Controller 101 is cut off from 5 others. "
        "Controller 102 leads the quorum, epoch 3; every partition has its leader and its replicas."
    )
    cluster.heal()
    cluster.cut(1, 2)
    cluster.cut(1, 3)
    assert notice().startswith("Brokers 2, 3 hear nothing from broker 1. acks=all waits on ")
    cluster.heal()
    cluster.cut(1, 2)
    cluster.cut(3, 2)
    assert notice().startswith("Broker 2 hears nothing from brokers 1, 3. acks=all waits on ")
    cluster.cut(2, 3)
    assert notice().startswith("Broker 2 is cut off from brokers 1, 3. ")


def test_writes_that_wait_are_worse_than_replicas_that_are_behind(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    cluster.isolate(1, 2)
    cluster.feed(model)
    partition = next(one for one in model.hosted_partitions(1) if one.leader == 1)
    isr = tuple(node_id for node_id in partition.isr if node_id != 2)
    change = ev.PartitionChanged(
        at_ms=cluster.now_ms,
        node_id=102,
        topic=partition.topic,
        partition=partition.partition,
        old_leader=1,
        new_leader=1,
        old_leader_epoch=partition.leader_epoch,
        new_leader_epoch=partition.leader_epoch,
        old_isr=partition.isr,
        new_isr=isr,
        cause="replica 2 fell behind",
    )
    model.apply([change], {}, 0, cluster.now_ms)
    assert model.health.under_replicated == 1
    assert model.notice is not None and "acks=all waits on " in model.notice.text


def test_who_is_waited_for_by_name_and_number(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    partition = model.partition("orders", 0)
    assert partition is not None
    others = sorted((node_id for node_id in partition.isr if node_id != partition.leader), key=partition.isr.index)
    for other in others:
        cluster.isolate(partition.leader, other)
    cluster.feed(model)
    answer = write_outlook(partition, 2, model.faults, [101, 102, 103])
    assert answer.answers[2].text == f"waits: {others[0]} and {others[1]} in the ISR are cut off"
    assert answer.note.startswith(f"acks=all goes on when brokers {others[0]} and {others[1]} leave the ISR (replica.lag.time.max.ms)")


def test_writes_wait_for_a_follower_that_is_cut_off(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    partition = model.partition("orders", 0)
    assert partition is not None
    leader, other = partition.leader, next(node_id for node_id in partition.isr if node_id != partition.leader)
    cluster.cut(leader, other)
    cluster.feed(model)
    answer = write_outlook(partition, 2, model.faults, [101, 102, 103])
    assert not answer.answers[2].succeeds and answer.answers[2].text == f"waits: {other} in the ISR is cut off"
    assert "replica.lag.time.max.ms" in answer.note
    cluster.isolate(leader)
    cluster.feed(model)
    assert "cannot shrink the ISR" in write_outlook(partition, 2, model.faults, [101, 102, 103]).note
    cluster.heal()
    cluster.isolate(leader, CLIENTS)
    cluster.feed(model)
    answer = write_outlook(partition, 2, model.faults, [101, 102, 103])
    assert not any(one.succeeds for one in answer.answers)
    assert answer.answers[1].text == f"no: clients do not reach {leader}"


# --- what the cut off still believe -------------------------------------------------------------------------


def test_why_there_was_an_election_is_why_the_winner_stood(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    stood = ev.RaftStateChanged(
        at_ms=cluster.now_ms, node_id=101, old_state="follower", new_state="prospective", epoch=3, leader_id=-1, cause="102 was silent"
    )
    enough = ev.RaftStateChanged(
        at_ms=cluster.now_ms, node_id=101, old_state="prospective", new_state="candidate", epoch=4, leader_id=-1, cause="103 would vote"
    )
    model.apply([stood, enough], {}, 0, cluster.now_ms)
    cluster.elect(101)
    cluster.feed(model)
    assert model.quorum.elections[-1].cause == "102 was silent"
    assert model.timeline[-1].detail.startswith("102 was silent · votes of 101, 102, 103")


def test_a_controller_that_does_not_vote_yet_is_no_broker(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    started = ev.NodeStarted(at_ms=cluster.now_ms, node_id=104, role="controller", address="127.0.0.1:1", pid=1)
    level = lv.QuorumLevel(state="observer", epoch=3, leader_id=102, high_watermark=1, log_end_offset=1)
    model.apply([started], {lv.QuorumKey(104): level}, 0, cluster.now_ms)
    assert [node.node_id for node in model.brokers] == [1, 2, 3]
    assert [node.node_id for node in model.controllers] == [101, 102, 103, 104]
    assert model.health.level is HealthLevel.HEALTHY


def test_a_coordinator_that_was_fenced_is_not_believed(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    group = model.groups["billing"]
    before = (group.state, group.generation, group.coordinator_id)
    cluster.isolate(1)
    cluster._fence(1, "no heartbeat", 9_000.0)
    cluster.feed(model)
    stale = ev.GroupStateChanged(
        at_ms=cluster.now_ms, node_id=1, group_id="billing", old_state="Stable", new_state="Empty", generation=9, members=0, cause="gone"
    )
    level = lv.GroupLevel(coordinator_id=1, state="Empty", generation=9, protocol_type="consumer", protocol="", leader_id="", members=())
    model.apply([stale], {lv.GroupKey("billing"): level}, 0, cluster.now_ms)
    assert (group.state, group.generation) == before[:2] and group.members
    assert model.timeline[-1].headline == "broker 1, which is fenced, holds billing for Empty, generation 9"
    cluster.heal()
    cluster._unfence(1, cluster.brokers[1])
    cluster.feed(model)
    model.apply([], {lv.GroupKey("billing"): level}, 0, cluster.now_ms)
    assert group.state == "Empty"


def test_a_leader_that_was_replaced_without_hearing_of_it_is_told_of(model: ClusterModel, cluster: samples.SampleCluster) -> None:
    partition = next(one for one in model.hosted_partitions(1) if one.leader == 1)
    tp = partition.topic_partition

    def tell(*, is_leader: bool) -> str:
        level = lv.ReplicaLevel(
            is_leader=is_leader, leader_epoch=1, log_start_offset=0, log_end_offset=9, high_watermark=9, size_bytes=1, segments=1
        )
        model.apply([], {lv.ReplicaKey(1, *tp): level}, 0, cluster.now_ms)
        assert model.notice is not None
        return model.notice.text

    def note() -> str:
        return write_outlook(partition, 1, model.faults, outvoted=model.outvoted_leaders(partition)).note

    led = model.nodes[1].leads
    assert model.outvoted_leads(1) == 0
    cluster.isolate(1)
    cluster._fence(1, "no heartbeat", 9_000.0)
    cluster.feed(model)
    assert partition.leader != 1
    tell(is_leader=False)
    assert "has not heard" not in note() and model.outvoted_leads(1) == led - 1
    assert tell(is_leader=True) == (
        "Broker 1 is cut off and out of service. Others lead what it led. "
        "Broker 1 has not heard and goes on with clients that know no better: without acks=all those writes are lost."
    )
    assert model.outvoted_leads(1) == led
    assert note().endswith("Broker 1 has not heard who leads: clients that know no better still write to it, and that is cut away later.")
    # Nobody leads in its place: what it takes stays, for only it can lead again.
    orphan = ev.PartitionChanged(
        at_ms=cluster.now_ms,
        node_id=102,
        topic=partition.topic,
        partition=partition.partition,
        old_leader=partition.leader,
        new_leader=-1,
        old_leader_epoch=partition.leader_epoch,
        new_leader_epoch=partition.leader_epoch + 1,
        old_isr=partition.isr,
        new_isr=(),
        cause="broker 1 was fenced",
    )
    model.apply([orphan], {}, 0, cluster.now_ms)
    assert tell(is_leader=True) == (
        "Broker 1 is cut off and out of service. 1 partition has no leader. "
        "Broker 1 has not heard and goes on with clients that know no better."
    )
    assert note().endswith("Broker 1 has not heard that nobody leads: clients that know no better still write to it.")
    # Whom no client reaches takes nothing.
    cluster.isolate(1, CLIENTS)
    cluster.feed(model)
    assert model.outvoted_leads(1) == 0 and model.outvoted_leaders(partition) == []
