"""Is the cluster well, and what is missing? Answered from the hub's levels and what the host knows of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafkalab.engine.cluster.snapshot import NodeFacts, active_controller
from kafkalab.engine.telemetry.levels import BrokerKey, BrokerLevel, Level, LevelKey, PartitionKey, PartitionLevel, TopicKey, TopicLevel

_NAMED_MAX = 3


def trouble(nodes: Sequence[NodeFacts], levels: Mapping[LevelKey, Level], *, partitions: bool, only_running: bool) -> str | None:
    """What keeps the cluster from being well, in a clause; None when nothing does.

    :param partitions: whether all partitions have to be led and fully in sync.
    :param only_running: whether nodes that do not run are passed over.
    """
    running = [node for node in nodes if node.state == "running"]
    if not only_running and len(running) < len(nodes):
        return ", ".join(f"node {node.node_id} is {node.state}" for node in nodes if node.state != "running")
    controller_id, epoch = active_controller(levels)
    if controller_id == -1:
        return f"no controller leads the quorum (epoch {epoch})"
    if not any("broker" in node.roles for node in running):
        return "no broker runs"
    for node in running:
        if "broker" in node.roles and (missing := _out_of_service(node, levels)):
            return missing
    return _unhealthy_partitions(levels) if partitions else None


def hopeless(nodes: Sequence[NodeFacts]) -> str | None:
    """Why waiting cannot help: without brokers or a majority of controllers nothing becomes ready by itself."""
    for role in ("broker", "controller"):
        mine = [node for node in nodes if role in node.roles]
        gone = [node for node in mine if node.state in ("stopped", "killed", "crashed")]
        needed = 1 if role == "broker" else len(mine) // 2 + 1
        if len(mine) - len(gone) < needed:
            why = "; ".join(f"{role} {node.node_id} is {node.state}" + (f": {node.failure}" if node.failure else "") for node in gone)
            return f"{len(mine) - len(gone)} of {len(mine)} {role}s are left ({why})"
    return None


def _out_of_service(node: NodeFacts, levels: Mapping[LevelKey, Level]) -> str | None:
    level = levels.get(BrokerKey(node.node_id))
    if not isinstance(level, BrokerLevel) or level.broker_epoch <= node.old_broker_epoch:
        return f"broker {node.node_id} is not registered"
    if level.fenced:
        return f"broker {node.node_id} is fenced"
    if level.in_controlled_shutdown:
        return f"broker {node.node_id} is shutting down"
    return None


def _unhealthy_partitions(levels: Mapping[LevelKey, Level]) -> str | None:
    expected = sum(level.partitions for key, level in levels.items() if isinstance(key, TopicKey) and isinstance(level, TopicLevel))
    found = 0
    bad = []
    for key, level in levels.items():
        if isinstance(key, PartitionKey) and isinstance(level, PartitionLevel):
            found += 1
            if level.leader == -1:
                bad.append(f"{key.topic}-{key.partition} has no leader")
            elif set(level.isr) != set(level.replicas):
                bad.append(f"{key.topic}-{key.partition} has {sorted(level.isr)} of {sorted(level.replicas)} in sync")
    if bad:
        more = f" and {len(bad) - _NAMED_MAX} more" if len(bad) > _NAMED_MAX else ""
        return ", ".join(bad[:_NAMED_MAX]) + more
    return f"{found} of {expected} partitions are known" if found != expected else None
