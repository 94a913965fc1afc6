"""R24: what a minority of controllers cannot do, what all of them still know, and who is too far behind for the log."""

from __future__ import annotations

from typing import Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import iter_headers
from kafkalab.scenarios.replication import TOPIC, one_topic
from kafkalab.scenarios.scenario import Scenario
from kafkalab.scenarios.stage import Setup, Stage

LONELY: Final = "lonely"
AGREED: Final = "agreed"
TOPICS: Final = 25
CLEANED_WITHIN_S: Final = 150.0
"""Controllers look once a minute for what they need not keep."""
METADATA_FOLDER: Final = f"{METADATA_TOPIC}-0"


def minority_and_snapshots(stage: Stage) -> None:
    """R24."""
    place = one_topic(stage, 1, 2, 3)
    place.write(2)
    old = _active(stage)
    ally, *majority = (controller for controller in stage.controller_ids if controller != old)
    for one in (old, ally):
        for other in (*majority, *stage.broker_ids):
            stage.isolate(one, other)
    pending = stage.send(old, ApiKey.CREATE_TOPICS, 7, _topic_body(LONELY), 30.0)
    stage.tell(f"controller {old}, which is active, and {ally} hear only each other; {old} is asked for topic {LONELY}")
    stage.wait(lambda: stage.active_controller() in majority, "another controller is active")
    new = _active(stage)
    stage.create_topic(AGREED, ((1, 2, 3),))
    stage.tell(f"controller {new} is active; topic {AGREED} is created with it")
    stage.heal()
    stage.wait(lambda: pending.is_done, "the old controller answers, or hangs up", 35.0)
    answer = None if pending.response is None else Errors(pending.response.topics[0].error_code)
    stage.check(answer is not Errors.NONE, f"what a minority was asked is not done; topic {LONELY} was said to be created")
    stage.wait(lambda: stage.active_controller() is not None, "a controller is active")
    stage.check(stage.topic_id(LONELY) is None, f"topic {LONELY} is not there")
    stage.check(stage.topic_id(AGREED) is not None, f"topic {AGREED} is there")
    stage.tell(f"{old} is back; it answered {'nothing' if answer is None else answer.name}, topic {LONELY} is not there")
    for controller in stage.controller_ids:
        stage.kill(controller)
    place.write(2)
    stage.tell("all controllers are killed; the brokers go on")
    for controller in stage.controller_ids:
        stage.restart(controller)
    active = _active(stage)
    stage.wait(stage.is_settled, "all brokers are in service")
    place.write(2)
    stage.check(stage.topic_id(TOPIC) is not None and stage.topic_id(AGREED) is not None, "the topics are there")
    stage.tell(f"all are back, {active} is active, and all topics are there")
    _left_behind(stage)
    place.check_nothing_lost()


def _left_behind(stage: Stage) -> None:
    """A controller that was away longer than the log reaches back."""
    active = _active(stage)
    behind, *others = (controller for controller in stage.controller_ids if controller != active)
    stage.kill(behind)
    end = _log_end(stage, behind)
    for number in range(TOPICS):
        stage.create_topic(f"topic-{number}", ((1, 2, 3),))
    stage.tell(f"controller {behind} is killed with its log at {end}; {TOPICS} topics are created")
    # Files are looked at now and then, not after each step.
    stage.ask_until(
        lambda: min(_log_start(stage, one) for one in (active, *others)) > end or None,
        "controllers cut their logs behind their snapshots",
        CLEANED_WITHIN_S,
    )
    stage.tell(f"the other controllers' logs begin at {', '.join(str(_log_start(stage, one)) for one in (active, *others))} now")
    stage.restart(behind)
    stage.ask_until(
        lambda: (_log_start(stage, behind) > end and _has_snapshot(stage, behind)) or None, f"controller {behind} has taken a snapshot"
    )
    away, stays = others[:2], others[2]
    for one in away:
        stage.kill(one)
    stage.create_topic("with-three", ((1, 2, 3),))
    stage.tell(f"{behind} has taken the snapshot; {away[0]} and {away[1]} are killed, and a topic is created with the vote of {behind}")
    stage.kill(active)
    stage.restart(away[0])
    stage.wait(lambda: stage.active_controller() in (behind, stays, away[0]), "one of the others is active")
    stage.create_topic("after-all", ((1, 2, 3),))
    stage.check(all(stage.topic_id(f"topic-{one}") is not None for one in range(TOPICS)), "all topics are there")
    stage.tell(f"{active} is killed too; {stage.active_controller()} is active and knows all {TOPICS} topics")
    for one in (active, away[1]):
        stage.restart(one)
    stage.wait(stage.is_settled, "all brokers are in service")


def _active(stage: Stage) -> int:
    stage.wait(lambda: stage.active_controller() is not None, "a controller is active")
    active = stage.active_controller()
    assert active is not None
    return active


def _topic_body(name: str) -> dict[str, object]:
    topic = {"name": name, "num_partitions": 1, "replication_factor": 3, "assignments": [], "configs": []}
    return {"topics": [topic], "timeout": 20_000, "validate_only": False}


def _log_start(stage: Stage, node_id: int) -> int:
    """Where the metadata log of a controller begins, by its files; -1 while a snapshot takes its place."""
    names = [name for name in stage.files(node_id).names(METADATA_FOLDER) if name.endswith(".log")]
    return int(names[0].rpartition("/")[2].removesuffix(".log")) if names else -1


def _has_snapshot(stage: Stage, node_id: int) -> bool:
    return any(name.endswith(".checkpoint") for name in stage.files(node_id).names(METADATA_FOLDER))


def _log_end(stage: Stage, node_id: int) -> int:
    files = stage.files(node_id)
    name = [name for name in files.names(METADATA_FOLDER) if name.endswith(".log")][-1]
    base = int(name.rpartition("/")[2].removesuffix(".log"))
    return max((header.next_offset for _, header in iter_headers(files.read(name))), default=base)


SCENARIOS: Final = (
    Scenario(
        "R24",
        "A quorum's minority, its restart, and a controller that was away for too long",
        "KIP-595, KIP-630",
        "A minority commits nothing, all that was committed is there after all were killed, and who is too far behind takes a snapshot.",
        minority_and_snapshots,
        Setup(
            controllers=5,
            config={
                "metadata.log.max.record.bytes.between.snapshots": 2_000,
                "metadata.max.retention.bytes": 4_000,
                "internal.metadata.log.segment.bytes": 2_048,
                "controller.quorum.fetch.snapshot.max.bytes": 1_000,
                "controller.quorum.fetch.timeout.ms": 1_000,
                "controller.quorum.election.timeout.ms": 500,
                "controller.quorum.request.timeout.ms": 500,
            },
        ),
    ),
)
