"""R19: what a group's coordinator acknowledges, it still knows when another one takes over."""

from __future__ import annotations

from typing import Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import OFFSETS_TOPIC
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.scenarios.client import Place
from kafkalab.scenarios.replication import TOPIC, one_topic
from kafkalab.scenarios.scenario import Scenario
from kafkalab.scenarios.stage import Setup, Stage

GROUP: Final = "readers"


def truncated_commit(stage: Stage) -> None:
    """R19."""
    one_topic(stage, 1, 2, 3)
    first = _coordinator(stage)
    _commit(stage, first, 10)
    offsets = Place(stage, OFFSETS_TOPIC)
    stage.wait(lambda: offsets.isr == {1, 2, 3}, "all have the group's offsets")
    stage.tell(f"{first} coordinates the group, which has committed offset 10")
    stage.isolate(first)
    pending = stage.send(first, ApiKey.OFFSET_COMMIT, 8, _commit_body(20), 30.0)
    stage.wait(lambda: offsets.end(first) > max(offsets.end(other) for other in {1, 2, 3} - {first}), "its record is in its log alone")
    stage.tell(f"{first} hears no other node; offset 20 is committed to it, and is in its log alone")
    second = offsets.wait_leader(*({1, 2, 3} - {first}))
    for offset in (11, 12, 13):
        _commit(stage, second, offset)
    stage.tell(f"{second} coordinates the group, which has committed 11, 12 and 13: its log is longer than that of {first}")
    stage.heal()
    stage.wait(lambda: pending.is_done, "the former coordinator answers, or hangs up", 35.0)
    answer = None if pending.response is None else Errors(pending.response.topics[0].partitions[0].error_code)
    stage.check(answer is not Errors.NONE, "a commit whose record was cut is not acknowledged")
    offsets.wait_isr(1, 2, 3)
    told = _committed(stage, second)
    stage.check(told == 13, f"the group's offset is 13, which was acknowledged last, not {told}")
    stage.tell(f"{first} is back and has cut its log; the commit of 20 was answered {'nothing' if answer is None else answer.name}")
    offsets.check_equal(1, 2, 3)
    stage.stop(second)
    third = offsets.wait_leader(*({1, 2, 3} - {second}))
    told = _committed(stage, third)
    stage.check(told == 13, f"the group's offset is 13 at the next coordinator too, not {told}")
    stage.tell(f"{third} coordinates the group now, and says 13 too")


def _coordinator(stage: Stage) -> int:
    """Who coordinates the group."""

    def attempt() -> int | None:
        response = stage.ask(1, ApiKey.FIND_COORDINATOR, 4, {"key_type": 0, "coordinator_keys": [GROUP]})
        found = None if response is None else response.coordinators[0]
        return None if found is None or found.error_code else found.node_id

    answer: int = stage.ask_until(attempt, "the group has a coordinator")
    return answer


def _commit_body(offset: int) -> dict[str, Any]:
    partition = {"partition_index": 0, "committed_offset": offset, "committed_leader_epoch": -1, "committed_metadata": ""}
    topics = [{"name": TOPIC, "partitions": [partition]}]
    return {"group_id": GROUP, "generation_id_or_member_epoch": -1, "member_id": "", "group_instance_id": None, "topics": topics}


def _commit(stage: Stage, node_id: int, offset: int) -> None:
    """Commit until it is acknowledged."""

    def attempt() -> bool | None:
        response = stage.ask(node_id, ApiKey.OFFSET_COMMIT, 8, _commit_body(offset))
        error = None if response is None else Errors(response.topics[0].partitions[0].error_code)
        return True if error is Errors.NONE else None

    stage.ask_until(attempt, f"{node_id} acknowledges the commit of {offset}")


def _committed(stage: Stage, node_id: int) -> int:
    """What a coordinator says that the group has committed."""
    topics = [{"name": TOPIC, "partition_indexes": [0]}]
    body = {"groups": [{"group_id": GROUP, "topics": topics}], "require_stable": True}

    def attempt() -> int | None:
        response = stage.ask(node_id, ApiKey.OFFSET_FETCH, 8, body)
        group = None if response is None else response.groups[0]
        if group is None or group.error_code or group.topics[0].partitions[0].error_code:
            return None
        offset: int = group.topics[0].partitions[0].committed_offset
        return offset

    answer: int = stage.ask_until(attempt, f"{node_id} tells of the group's offsets")
    return answer


SCENARIOS: Final = (
    Scenario(
        "R19",
        "A group's coordinator is cut off amid a commit, and its record is cut from the log",
        "KAFKA-20634",
        "The commit is not acknowledged, though the log grows past its offset again; all coordinators know what was acknowledged.",
        truncated_commit,
        Setup(config={"min.insync.replicas": 2}),
    ),
)
