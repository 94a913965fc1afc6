"""What the inspector says about a thing: facts in words, whether a write can succeed, what can be done. No Qt.

A pure function from the model and a link to an :class:`Inspection`; the panel only lays it out.
"""

from __future__ import annotations

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.telemetry.levels import ConnectionKey
from kafkalab.ui.itemmodels.inspected import Fact, Inspection
from kafkalab.ui.itemmodels.inspected_faults import fault_facts, inspect_link
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.outlook import write_outlook
from kafkalab.ui.model.states import HEALTH_SIGNS, NODE_SIGNS, NodeState, ReplicaRole, Tone
from kafkalab.ui.model.things import Client, Connection, Group, Node, NoticeAction, Partition, Replica, Topic
from kafkalab.ui.theme.formats import (
    UNKNOWN,
    format_ago,
    format_byte_rate,
    format_bytes,
    format_clock,
    format_count,
    format_lag_time,
    format_ms,
    format_offset,
    format_rate,
    plural,
)

_ROWS_LISTED_MAX = 24
_APIS_LISTED_MAX = 16


def inspect(model: ClusterModel, link: Link | None, now_ms: float) -> Inspection | None:
    """Describe the thing a link points at; None when it is not there (any more)."""
    if link is None:
        return None
    match link.kind:
        case LinkKind.NODE:
            node = model.nodes.get(link.node_id)
            return None if node is None else _node(model, node, now_ms)
        case LinkKind.PARTITION | LinkKind.REPLICA:
            topic = model.topics.get(link.name)
            partition = None if topic is None else topic.partitions.get(link.partition)
            return None if topic is None or partition is None else _partition(model, topic, partition, now_ms, link)
        case LinkKind.TOPIC:
            topic = model.topics.get(link.name)
            return None if topic is None else _topic(topic)
        case LinkKind.GROUP:
            group = model.groups.get(link.name)
            return None if group is None else _group(group, now_ms)
        case LinkKind.CLIENT:
            client = model.clients.get(link.name)
            return None if client is None else _client(model, client)
        case LinkKind.CONNECTION:
            connection = model.connections.get(ConnectionKey(link.node_id, link.connection_id))
            return None if connection is None else _connection(model, connection)
        case LinkKind.QUORUM:
            return _quorum(model)
        case LinkKind.LINK:
            return inspect_link(model, link)
        case LinkKind.CLUSTER | LinkKind.FAILOVER:
            return _cluster(model)


def _node(model: ClusterModel, node: Node, now_ms: float) -> Inspection:
    sign = NODE_SIGNS[node.state]
    said = Inspection(node.name, f"{sign.glyph} {sign.word}", sign.tone)
    facts = said.facts
    if node.since_ms > 0:
        facts.append(Fact("since", f"{format_clock(node.since_ms)} · {format_ago(now_ms - node.since_ms)}"))
    if node.cause:
        facts.append(Fact("cause", node.cause, sign.tone if node.is_down else Tone.TEXT, prose=True))
    facts.append(Fact("address", node.address or UNKNOWN))
    if node.pid > 0:
        facts.append(Fact("process id", str(node.pid)))
    if node.is_controller:
        facts += _member_facts(model, node.node_id, now_ms)
    if node.is_broker:
        facts += [
            Fact("broker epoch", format_offset(node.broker_epoch)),
            Fact("registration", "fenced" if node.fenced else "unfenced", Tone.WARN if node.fenced else Tone.TEXT),
            Fact("leads", f"{format_count(node.leads)} of {format_count(node.hosts)}"),
            Fact(
                "in sync in",
                f"{format_count(node.in_sync)} of {format_count(node.hosts)}",
                Tone.TEXT if node.in_sync == node.hosts else Tone.WARN,
            ),
        ]
        held_on = model.outvoted_leads(node.node_id)
        if held_on:
            tip = "it is cut off and has not heard: clients that know no better still read from it and write to it"
            facts.append(Fact("believes to lead", plural(held_on, "partition"), Tone.WARN, tip=tip))
        if node.rack:
            facts.append(Fact("rack", node.rack))
        held = [one.replicas[node.node_id] for one in model.hosted_partitions(node.node_id)]
        facts.append(
            Fact(
                "data", f"{format_count(sum(one.segments for one in held))} segments · {format_bytes(sum(one.size_bytes for one in held))}"
            )
        )
        said.more_title = "Traffic"
        said.more = [
            Fact("produced", format_byte_rate(node.produced.rate)),
            Fact("fetched", format_byte_rate(node.fetched.rate)),
        ]
    else:
        said.more_title = "Traffic"
    said.more += [
        Fact("peers in", format_byte_rate(node.peer_in.rate)),
        Fact("peers out", format_byte_rate(node.peer_out.rate)),
        Fact("requests", format_rate(node.requests.rate)),
        Fact("connections", format_count(model.connections_of(node.node_id))),
        *(Fact(reason.replace("_", " "), format_count(count), Tone.WARN) for reason, count in node.bad_input if count),
    ]
    # What was done to it on purpose comes first: it explains the rest.
    said.facts[:0] = fault_facts(model, node)
    said.actions = [
        ("node.kill", "Kill"),
        ("node.stop", "Stop"),
        ("node.pause", _pause_word(node)),
        ("node.restart", "Restart"),
        ("link.isolate", "Isolate…"),
    ]
    if model.faults.of(node.node_id):
        said.actions.append(("link.heal", "Heal"))
    return said


def _member_facts(model: ClusterModel, node_id: int, now_ms: float) -> list[Fact]:
    """A controller as a member of the quorum."""
    quorum = model.quorum
    member = quorum.members.get(node_id)
    if member is None:
        return []
    is_voter = not member.is_observer and (not member.voters or node_id in member.voters)
    role = f"{member.state} ♛" if quorum.leader_id == node_id else member.state
    stale = member.epoch < quorum.epoch
    lag = quorum.lag_of(node_id)
    facts = [
        Fact("quorum role", f"{role} · {'voter' if is_voter else 'observer'}"),
        Fact(
            "epoch",
            f"{member.epoch} (the quorum: {quorum.epoch})" if stale else format_count(member.epoch),
            Tone.WARN if stale else Tone.TEXT,
        ),
    ]
    if member.changed_at_ms >= 0:
        facts.append(Fact("in that role since", format_clock(member.changed_at_ms), tip=format_ago(now_ms - member.changed_at_ms)))
        if member.cause:
            facts.append(Fact("because", member.cause, prose=True, tip=member.cause))
    facts += [
        Fact("high watermark", format_offset(member.high_watermark)),
        Fact(
            "log end", format_offset(member.log_end_offset) + (f" (−{format_count(lag)})" if lag else ""), Tone.WARN if lag else Tone.TEXT
        ),
    ]
    if member.snapshot_end_offset >= 0:
        name = f"{member.snapshot_end_offset:020}-{member.snapshot_epoch:010}.checkpoint"
        words = f"to {format_offset(member.snapshot_end_offset)} · epoch {member.snapshot_epoch}"
        facts.append(Fact("newest snapshot", words, tip=name))
    if member.directory_id:
        facts.append(Fact("directory id", member.directory_id))
    elections = [one for one in quorum.elections if one.leader == node_id]
    if elections:
        won = elections[-1]
        facts.append(Fact("last won", f"{format_clock(won.at_ms)} · epoch {won.epoch}", tip=won.cause))
        if won.cause and quorum.leader_id == node_id:
            facts.append(Fact("it stood because", won.cause, prose=True, tip=won.cause))
    return facts


def _partition(model: ClusterModel, topic: Topic, partition: Partition, now_ms: float, chosen: Link) -> Inspection:
    leader = partition.serving_leader
    said = Inspection(str(partition.topic_partition), colour=topic.colour)
    said.badge, said.badge_tone = (f"★ broker {leader}", Tone.TEXT) if leader >= 0 else ("✕ no leader", Tone.ERROR)
    previous, epoch = partition.previous_leader_epoch, partition.leader_epoch
    facts = said.facts
    facts.append(Fact("leader epoch", f"{previous} → {epoch}" if 0 <= previous != epoch else format_offset(epoch)))
    if partition.leader_lost_at_ms >= 0:
        facts.append(Fact("leaderless for", format_ago(now_ms - partition.leader_lost_at_ms).removesuffix(" ago"), Tone.ERROR))
    facts += _election_facts(partition)
    facts.append(Fact("replicas", ", ".join(map(str, partition.replica_ids))))
    facts.append(_isr_fact(partition, now_ms))
    facts += _eligibility_facts(partition)
    facts += [
        Fact("min.insync.replicas", str(topic.min_insync_replicas)),
        Fact("log start", format_offset(partition.log_start_offset)),
        Fact("high watermark", format_offset(partition.high_watermark)),
    ]
    for replica in sorted(partition.replicas.values(), key=lambda one: (one.node_id != leader, one.role is ReplicaRole.OFFLINE)):
        name = f"log end · broker {replica.node_id}"
        end = format_offset(replica.log_end_offset)
        link = Link.node(replica.node_id)
        if replica.role is ReplicaRole.OFFLINE:
            facts.append(Fact(name, f"offline at {end}" if replica.log_end_offset >= 0 else "offline", Tone.ERROR, link))
        elif replica.role is ReplicaRole.BEHIND:
            facts.append(Fact(name, end + _distance(partition, replica), Tone.WARN, link))
        else:
            facts.append(Fact(name, end, Tone.TEXT, link))
    held = partition.leader_replica
    if held is not None:
        facts.append(Fact("segments", f"{format_count(held.segments)} · {format_bytes(held.size_bytes)}"))
    facts.append(Fact("written", f"{format_rate(partition.records.rate, 'records')} · {format_byte_rate(partition.appended.rate)}"))
    controllers = [node.node_id for node in model.controllers]
    outvoted = model.outvoted_leaders(partition)
    said.outlook = write_outlook(partition, topic.min_insync_replicas, model.faults, controllers, outvoted)
    readers = [
        (group, entry)
        for group in model.groups.values()
        if (entry := group.partitions.get(TopicPartition(topic.name, partition.partition))) is not None
    ]
    if readers:
        said.more_title = "Read by"
        said.more = [
            Fact(group.group_id, f"at {format_offset(entry.committed)} · lag {format_count(entry.lag)}", link=group.link)
            for group, entry in readers
        ]
    # Where one replica is selected, its own broker is meant.
    is_replica = chosen.kind is LinkKind.REPLICA
    node_id = chosen.node_id if is_replica else partition.leader
    kill = f"Kill {model.node_name(node_id)}" if is_replica else "Kill leader"
    said.actions = []
    if node_id >= 0:
        said.actions += [("node.kill", kill), ("node.pause", _pause_word(model.nodes.get(node_id))), ("link.isolate", "Isolate…")]
    said.actions.append(("partition.reassign", "Move…"))
    if model.faults.of(node_id):
        said.actions.append(("link.heal", "Heal"))
    if partition.is_moving:
        said.actions.append(("partition.reassign_back", "Take back"))
    if partition.replica_ids and partition.leader != partition.replica_ids[0]:
        said.actions.append(("partition.elect", "Elect preferred"))
    if partition.leader < 0:
        said.actions.append(("partition.elect_unclean", "Elect unclean"))
    said.actions.append(("topic.show", "Topic"))
    return said


def _distance(partition: Partition, replica: Replica) -> str:
    """How far behind the leader's log end, or how far beyond it: who led before may have what nobody else has."""
    if replica.lag:
        return f" (−{format_count(replica.lag)})"
    beyond = replica.log_end_offset - partition.log_end_offset
    return f" (+{format_count(beyond)})" if beyond > 0 else ""


def _election_facts(partition: Partition) -> list[Fact]:
    """When, by what right and why the present leader came, or why there is none."""
    election = partition.election
    if election is None:
        return []
    right = election.sign
    if election.leader < 0:
        facts = [Fact("lost its leader", format_clock(election.at_ms), right.tone)]
    else:
        facts = [Fact("elected", format_clock(election.at_ms)), Fact("elected as", right.words, right.tone, prose=True)]
    if election.loss_words:
        tone = Tone.TEXT if election.lost == 0 else Tone.ERROR
        facts.append(Fact("at the cost of", election.loss_words, tone, prose=True))
    if election.cause:
        facts.append(Fact("because", election.cause, prose=True))
    if partition.recovering:
        facts.append(Fact("recovery", "the leader has not settled yet", Tone.WARN, prose=True))
    return facts


def _eligibility_facts(partition: Partition) -> list[Fact]:
    """Who besides the ISR may lead, and which replicas move."""
    facts = []
    for label, ids, tip in (
        ("eligible (ELR)", partition.elr, "out of sync, but with every committed record: they may lead when the ISR is empty"),
        ("last known leader", partition.last_known_elr, "nobody else is known to have as much"),
        ("adding", partition.adding, "on their way: they copy the log"),
        ("removing", partition.removing, "they go when the new ones are in sync"),
    ):
        if ids:
            facts.append(Fact(label, ", ".join(map(str, ids)), Tone.ACCENT if label in ("adding", "removing") else Tone.WARN, tip=tip))
    return facts


def _pause_word(node: Node | None) -> str:
    return "Resume" if node is not None and node.state is NodeState.PAUSED else "Pause"


def _isr_fact(partition: Partition, now_ms: float) -> Fact:
    in_sync = partition.in_sync_ids
    text = ", ".join(map(str, in_sync)) or "none"
    gone = [
        (replica.left_isr_at_ms if replica.left_isr_at_ms >= 0 else replica.offline_since_ms, replica.node_id)
        for replica in partition.replicas.values()
        if replica.node_id not in in_sync
    ]
    latest = max(gone, default=None)
    if latest is None:
        return Fact("in sync", text)
    at_ms, node_id = latest
    # Below a minute the tenths tell something; a moment not known is not told.
    span_ms = now_ms - at_ms
    if at_ms < 0:
        text += f" (not {node_id})"
    elif span_ms < 60_000:
        text += f" ({node_id} left {span_ms / 1000:.1f} s ago)"
    else:
        text += f" ({node_id} left {format_ago(span_ms)})"
    return Fact("in sync", text, Tone.WARN)


def _topic(topic: Topic) -> Inspection:
    partitions = topic.sorted_partitions
    leaderless = sum(one.is_leaderless for one in partitions)
    under = sum(one.is_under_replicated for one in partitions)
    said = Inspection(topic.name, colour=topic.colour)
    if leaderless:
        said.badge, said.badge_tone = f"✕ {format_count(leaderless)} leaderless", Tone.ERROR
    elif under:
        said.badge, said.badge_tone = f"▲ {format_count(under)} under-replicated", Tone.WARN
    else:
        said.badge, said.badge_tone = "● in sync", Tone.OK
    said.facts = [
        Fact("partitions", format_count(len(partitions))),
        Fact("replication factor", str(topic.replication_factor)),
        Fact("min.insync.replicas", str(topic.min_insync_replicas)),
        Fact("topic id", topic.topic_id or UNKNOWN),
        Fact("offsets", format_count(sum(max(0, one.log_end_offset - one.log_start_offset) for one in partitions))),
        Fact("size", format_bytes(sum(one.leader_replica.size_bytes for one in partitions if one.leader_replica is not None))),
        Fact(
            "written",
            f"{format_rate(sum(one.records.rate for one in partitions), 'records')} · "
            f"{format_byte_rate(sum(one.appended.rate for one in partitions))}",
        ),
    ]
    if topic.internal:
        said.facts.append(Fact("internal", "the cluster's own"))
    said.more_title = "Leaders"
    for one in partitions[:_ROWS_LISTED_MAX]:
        leader = one.serving_leader
        isr = " ".join(map(str, one.in_sync_ids))
        said.more.append(
            Fact(
                str(one.topic_partition),
                f"★{leader} isr {isr}" if leader >= 0 else "✕ no leader",
                Tone.ERROR if leader < 0 else Tone.WARN if one.is_under_replicated else Tone.TEXT,
                one.link,
            )
        )
    if len(partitions) > _ROWS_LISTED_MAX:
        said.more.append(Fact("", f"and {format_count(len(partitions) - _ROWS_LISTED_MAX)} more", Tone.MUTED))
    said.actions = [("topic.show", "Topic"), ("topic.delete", "Delete…")]
    return said


def _group(group: Group, now_ms: float) -> Inspection:
    stable = group.state == "Stable"
    said = Inspection(
        group.group_id,
        f"{'●' if stable else '▲'} {group.state}",
        Tone.OK if stable else Tone.MUTED if group.state in ("Empty", "Dead") else Tone.WARN,
    )
    facts = said.facts
    if group.since_ms > 0:
        facts.append(Fact("since", f"{format_clock(group.since_ms)} · {format_ago(now_ms - group.since_ms)}"))
    if group.cause:
        facts.append(Fact("cause", group.cause, prose=True))
    facts += [
        Fact("members", format_count(len(group.members))),
        Fact("generation", format_offset(group.generation)),
        Fact("protocol", " · ".join(filter(None, (group.protocol_type, group.protocol))) or UNKNOWN),
        Fact(
            "coordinator",
            f"broker {group.coordinator_id}" if group.coordinator_id >= 0 else UNKNOWN,
            link=Link.node(group.coordinator_id) if group.coordinator_id >= 0 else None,
        ),
        Fact("lag", f"{format_count(group.lag)} · {format_lag_time(group.lag_ms)}"),
    ]
    if group.unowned_since_ms >= 0:
        facts.append(Fact("rebalancing for", format_ms(now_ms - group.unowned_since_ms), Tone.WARN))
    elif group.last_rebalance_ms >= 0:
        facts.append(Fact("last rebalance", format_ms(group.last_rebalance_ms)))
    said.more_title = "Members" if group.members else ""
    said.more = [
        Fact(
            member.instance_id or member.client_id or member.member_id,
            plural(len(member.assignment), "partition") if member.assignment else "idle",
            Tone.TEXT if member.assignment else Tone.WARN,
            tip=f"{member.member_id} at {member.client_host}",
        )
        for member in group.members
    ]
    said.actions = [("group.show", "Groups")]
    return said


def _client(model: ClusterModel, client: Client) -> Inspection:
    connected = len(client.connections)
    said = Inspection(client.title, f"{'●' if connected else '○'} {plural(connected, 'connection')}", Tone.OK if connected else Tone.MUTED)
    said.facts = [Fact("kind", client.kind), Fact("software", client.software or UNKNOWN)]
    if client.group_id:
        said.facts.append(Fact("group", client.group_id, link=Link.group(client.group_id)))
    if client.acks is not None:
        said.facts.append(Fact("acks", "all" if client.acks == -1 else str(client.acks)))
    if client.producer_id >= 0:
        said.facts.append(Fact("producer id", str(client.producer_id)))
    said.facts += [
        Fact("produces", format_byte_rate(client.produce_rate)),
        Fact("fetches", format_byte_rate(client.fetch_rate)),
    ]
    if client.last_error:
        said.facts.append(Fact("last error", client.last_error, Tone.WARN))
    own = [model.connections[key] for key in sorted(client.connections) if key in model.connections]
    said.more_title = "Connections" if own else ""
    said.more = [
        Fact(f"broker {one.node_id}", f"{one.level.address} · {format_count(one.level.in_flight)} in flight", link=one.link)
        for one in own[:_ROWS_LISTED_MAX]
    ]
    said.actions = [("clients.show", "Clients")]
    return said


def _connection(model: ClusterModel, connection: Connection) -> Inspection:
    level = connection.level
    node = model.nodes.get(connection.node_id)
    said = Inspection(
        level.client_id or f"connection {connection.key.connection_id}", f"→ {node.name if node else connection.node_id}", Tone.MUTED
    )
    said.facts = [
        Fact("address", level.address),
        Fact("listener", level.listener),
        Fact("software", level.software or UNKNOWN),
        Fact("requests", format_count(level.requests)),
        Fact("in flight", format_count(level.in_flight)),
        Fact("received", f"{format_bytes(level.bytes_in)} · {format_byte_rate(connection.bytes_in.rate)}"),
        Fact("sent", f"{format_bytes(level.bytes_out)} · {format_byte_rate(connection.bytes_out.rate)}"),
    ]
    if level.acks is not None:
        said.facts.append(Fact("acks", "all" if level.acks == -1 else str(level.acks)))
    if level.producer_id >= 0:
        said.facts.append(Fact("producer id", str(level.producer_id)))
    if level.group_id:
        said.facts.append(Fact("group", level.group_id, link=Link.group(level.group_id)))
    if level.last_error:
        said.facts.append(Fact("last error", level.last_error, Tone.WARN))
    said.more_title = "APIs used" if level.apis else ""
    said.more = [Fact(f"{name} v{version}", format_count(count)) for name, version, count in level.apis[:_APIS_LISTED_MAX]]
    said.actions = [("clients.show", "Clients")]
    return said


def _quorum(model: ClusterModel) -> Inspection:
    quorum = model.quorum
    leader = quorum.leader_id
    said = Inspection("quorum", f"♛ {leader}" if leader >= 0 else "✕ no leader", Tone.ACCENT if leader >= 0 else Tone.ERROR)
    said.facts = [Fact("epoch", format_count(quorum.epoch)), Fact("voters", format_count(len(quorum.voters)))]
    for one in quorum.voters:
        lag = quorum.lag_of(one.node_id)
        behind = f" (−{format_count(lag)})" if lag else ""
        words = f"{one.state} · end {format_offset(one.log_end_offset)}{behind} · hw {format_offset(one.high_watermark)}"
        said.facts.append(
            Fact(f"controller {one.node_id}", words, Tone.WARN if one.epoch < quorum.epoch else Tone.TEXT, Link.node(one.node_id))
        )
    if quorum.elections:
        won = quorum.elections[-1]
        said.facts.append(
            Fact("last election", f"{format_clock(won.at_ms)} · {won.leader} ♛ epoch {won.epoch}", link=Link.node(won.leader))
        )
        if won.cause:
            said.facts.append(Fact("because", won.cause, prose=True))
        if won.votes:
            said.facts.append(Fact("with the votes of", ", ".join(map(str, won.votes))))
        if won.gap_ms >= 0:
            said.facts.append(Fact("nobody led for", format_ms(won.gap_ms), Tone.WARN))
    votes = list(quorum.votes)[-8:]
    said.more_title = "Latest votes" if votes else ""
    said.more = [
        Fact(
            f"{format_clock(vote.at_ms)}  {vote.voter_id} → {vote.candidate_id}",
            f"epoch {vote.epoch} {'pre-vote ' if vote.pre_vote else ''}{'✓ granted' if vote.granted else '✕ refused'}",
            Tone.OK if vote.granted else Tone.WARN,
        )
        for vote in reversed(votes)
    ]
    return said


def _with_internal(count: int, internal: int) -> str:
    return f"{format_count(count)} · {format_count(internal)} internal" if internal else format_count(count)


def _cluster(model: ClusterModel) -> Inspection:
    brokers = model.brokers
    internal = [one for one in model.topics.values() if one.internal]
    sign = HEALTH_SIGNS[model.health.level]
    said = Inspection("cluster", f"{sign.glyph} {sign.word}", sign.tone)
    said.facts = [
        Fact("brokers", f"{sum(not one.is_down for one in brokers)} of {len(brokers)} up"),
        Fact("topics", _with_internal(len(model.topics), len(internal))),
        Fact("partitions", _with_internal(model.partition_count, sum(len(one.partitions) for one in internal))),
        Fact("under-replicated", format_count(model.health.under_replicated), Tone.WARN if model.health.under_replicated else Tone.TEXT),
        Fact("leaderless", format_count(model.health.leaderless), Tone.ERROR if model.health.leaderless else Tone.TEXT),
        Fact("groups", format_count(len(model.groups))),
        Fact("clients", format_count(model.client_count)),
        Fact(
            "controller",
            f"{model.quorum.leader_id} ♛ epoch {model.quorum.epoch}" if model.quorum.leader_id >= 0 else "none",
            link=Link.quorum(),
        ),
    ]
    faults = model.faults.links
    said.more_title = "Broken on purpose" if faults else ""
    said.more = [
        Fact(
            model.name_of(one.link).removeprefix("link between "),
            one.words(model.node_name) if one.is_alike else "one way" if None in (one.forth, one.back) else "differs by way",
            Tone.ERROR if one.is_cut else Tone.WARN,
            one.link,
            tip=one.words(model.node_name),
            prose=True,
            action=NoticeAction("Heal", "heal", one.link),
        )
        for one in faults[:_ROWS_LISTED_MAX]
    ]
    said.actions = [("topic.create", "Create topic…"), ("traffic.toggle", "")]
    if faults:
        said.actions.append(("link.heal_all", "Heal all links"))
    return said
