"""R1 to R9: logs that must not part, high watermarks that must not lie, and who may be in sync."""

from __future__ import annotations

from typing import Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.events import PartitionChanged
from kafkalab.scenarios.client import Place, epoch_end, latest_offset
from kafkalab.scenarios.scenario import Scenario
from kafkalab.scenarios.stage import Setup, Stage

TOPIC: Final = "orders"
QUIET_S: Final = 1.0
"""Long enough to see that nothing happens."""


def one_topic(stage: Stage, *replicas: int, **config: object) -> Place:
    """Create the topic of most scripts: one partition, the first of these leads."""
    stage.create_topic(TOPIC, (replicas,), **config)
    stage.tell(f"{TOPIC}-0 has replicas on {', '.join(map(str, replicas))}; {replicas[0]} leads")
    return Place(stage, TOPIC)


def follower_restarts_behind_the_high_watermark(stage: Stage) -> None:
    """R1."""
    place = one_topic(stage, 1, 2)
    place.write(3)
    stage.wait(lambda: place.high_watermark(2) == 3, "the follower knows the high watermark")
    stage.delay(1, 2, 600.0)
    stage.tell("what 1 sends to 2 takes 600 ms: 2 learns of the high watermark long after the producer")
    place.write(1)
    stage.wait(lambda: place.end(2) == 4, "the follower has the record")
    stage.check(place.high_watermark(2) == 3, "the follower does not know yet that the record is committed")
    stage.kill(2)
    stage.tell("record 3 is acknowledged; 2 is killed with its end at 4 and its high watermark at 3")
    stage.heal()
    stage.cut(1, 2)
    stage.restart(2)
    stage.wait(lambda: place.replica(2) is not None and not stage.is_fenced(2), "the follower is back in service")
    stage.sleep(QUIET_S)
    stage.check(place.end(2) == 4, f"a follower that restarts keeps what lies above its high watermark; its end is {place.end(2)}")
    stage.tell("2 is back, hears nothing of 1, and has still all 4 records")
    stage.heal()
    stage.delay(1, 2, 300.0)
    place.wait_isr(1, 2)
    stage.kill(1)
    stage.tell("2 has just joined the ISR; 1 is killed")
    place.wait_leader(2)
    place.check_nothing_lost()


def both_lose_what_was_not_flushed(stage: Stage) -> None:
    """R2."""
    place = one_topic(stage, 1, 2)
    place.write(5)
    stage.wait(lambda: place.end(2) == 5, "the follower has all")
    stage.power_loss(2, torn_tail=1_000_000)
    place.wait_isr(1)
    stage.tell("2 loses its power, but all that it wrote had reached its disk; 1 is alone in sync")
    place.write(2)
    stage.power_loss(1)
    stage.tell("1 loses its power and with it all that it had not flushed, which is everything")
    stage.restart(2)
    stage.wait(lambda: not stage.is_fenced(2) and place.leader != 1, "2 is back in service, and 1 is known to be gone")
    stage.sleep(QUIET_S)
    stage.check(place.leader is None, f"who was not in sync at the end does not lead; {place.leader} does")
    stage.tell("2 is back first, with five records, and does not lead: 1 led last")
    stage.isolate(1, 2)
    stage.restart(1)
    place.wait_leader(1)
    place.write(7)
    stage.tell("1 is back with an empty log, leads, and has seven new records before 2 hears of it")
    stage.heal()
    place.wait_isr(1, 2)
    place.check_equal(1, 2)


def three_fast_unclean_elections(stage: Stage) -> None:
    """R3."""
    place = one_topic(stage, 1, 2, unclean_leader_election_enable=True)
    place.write(2)
    stage.wait(lambda: place.end(2) == 2, "the follower has all")
    stage.kill(2)
    place.wait_isr(1)
    place.write(3)
    stage.tell("2 is killed; 1 goes on alone with three records")
    for leaves, comes, count in ((1, 2, 1), (2, 1, 2), (1, 2, 1)):
        stage.kill(leaves)
        stage.restart(comes)
        place.wait_leader(comes)
        place.write(count)
        stage.tell(f"{leaves} is killed, {comes} is back and leads in epoch {place.state.leader_epoch}, with {count} more of its own")
    stage.restart(1)
    place.wait_isr(1, 2)
    stage.tell("1 is back, follows, and is in sync")
    place.check_equal(1, 2)


def stale_and_future_epochs(stage: Stage) -> None:
    """R4."""
    place = one_topic(stage, 1, 2, 3)
    place.write(3)
    before = place.state.leader_epoch
    stage.stop(1)
    leader = place.wait_leader(2, 3)
    place.write(2)
    epoch = place.state.leader_epoch
    stage.tell(f"1 is stopped; {leader} leads in epoch {epoch}, records 3 and 4 are of it")
    for told, due in ((epoch - 1, Errors.FENCED_LEADER_EPOCH), (epoch + 1, Errors.UNKNOWN_LEADER_EPOCH), (epoch, Errors.NONE)):
        part = place.fetch(leader, 0, current_leader_epoch=told)
        answers = {
            "Fetch": None if part is None else Errors(part.error_code),
            "ListOffsets": latest_offset(place, leader, current_leader_epoch=told)[0],
            "OffsetForLeaderEpoch": epoch_end(place, leader, before, current_leader_epoch=told)[0],
        }
        for api, error in answers.items():
            stage.check(error is due, f"{api} that tells epoch {told} of {epoch} is answered {due.name}, not {error and error.name}")
        stage.tell(f"epoch {told} is answered {due.name} ({int(due)}) by Fetch, ListOffsets and OffsetForLeaderEpoch")
    answer = epoch_end(place, leader, before)
    stage.check(answer == (Errors.NONE, before, 3), f"epoch {before} ended at 3; told was {answer}")
    part = place.fetch(leader, 5, current_leader_epoch=epoch, last_fetched_epoch=before)
    diverging = None if part is None or part.error_code else (part.diverging_epoch.epoch, part.diverging_epoch.end_offset)
    stage.check(diverging == (before, 3), f"a consumer whose records 3 and 4 are of epoch {before} is told ({before}, 3), not {diverging}")
    stage.tell(f"a consumer that read up to 5 in epoch {before} is told that this epoch ended at 3")


def elections_without_data(stage: Stage) -> None:
    """R5."""
    place = one_topic(stage, 1, 2, 3)
    place.write(2)
    first = place.state.leader_epoch
    for _ in range(3):
        stage.stop(1)
        place.wait_leader(2)
        stage.restart(1)
        place.wait_isr(1, 2, 3)
        stage.ask_until(lambda: _prefer_first(stage, place), "the preferred replica is elected")
        place.wait_leader(1)
        stage.tell(f"1 is stopped, 2 leads, 1 is back and leads again, in epoch {place.state.leader_epoch}; nobody wrote")
    stage.stop(1)
    leader = place.wait_leader(2)
    last = place.state.leader_epoch
    stage.tell(f"1 is stopped once more; {leader} leads in epoch {last}")

    def check_epochs() -> None:
        for epoch in range(first + 1, last):
            answer = epoch_end(place, leader, epoch)
            due = (Errors.NONE, first, 2)
            stage.check(answer == due, f"in epoch {epoch} nobody wrote: it ends where epoch {first} does, at 2; told was {answer}")

    check_epochs()
    answer = epoch_end(place, leader, last)
    stage.check(answer == (Errors.NONE, last, 2), f"a leader knows its epoch before it writes: ({last}, 2); told was {answer}")
    place.write(3)
    check_epochs()
    stage.tell(f"of each epoch between is told that epoch {first} ended at 2, before and after {leader} writes")
    stage.restart(1)
    place.wait_isr(1, 2, 3)
    place.check_equal(1, 2, 3)


def _prefer_first(stage: Stage, place: Place) -> bool | None:
    """Let the first replica lead, as a tool asks for it; True when it does."""
    topics = [{"topic": place.topic, "partitions": [place.index]}]
    response = stage.ask(2, ApiKey.ELECT_LEADERS, 2, {"election_type": 0, "topic_partitions": topics, "timeout": 10_000})
    if response is None or response.error_code:
        return None
    error = Errors(response.replica_election_results[0].partition_result[0].error_code)
    return True if error in (Errors.NONE, Errors.ELECTION_NOT_NEEDED) else None


def diverging_fetch_moves_nothing(stage: Stage) -> None:
    """R6."""
    place = one_topic(stage, 1, 2)
    place.write(2)
    before = place.state.leader_epoch
    stage.stop(1)
    place.wait_leader(2)
    stage.restart(1)
    place.wait_isr(1, 2)
    place.write(3)
    epoch = place.state.leader_epoch
    stage.wait(lambda: place.high_watermark(2) == 5 and place.end(1) == 5, "both have five records")
    stage.tell(f"2 leads in epoch {epoch}, of which records 2 to 4 are; 1 follows")
    stage.pause(1)
    for value in place.values(2):
        written = place.put(2, [value], acks=1)
        stage.check(written is not None and written.error is Errors.NONE, "a leader takes records with acks=1")
    stage.tell("1 is paused and still in sync; 2 takes two records that 1 does not have")
    part = place.fetch(2, 7, current_leader_epoch=epoch, last_fetched_epoch=before, as_replica=1)
    told = None if part is None or part.error_code else (part.diverging_epoch.epoch, part.diverging_epoch.end_offset)
    stage.check(told == (before, 2), f"a follower at 7 of epoch {before} is told where that ended, ({before}, 2), not {told}")
    stage.sleep(0.2)
    mark = place.high_watermark(2)
    stage.check(mark == 5, f"a fetch from where logs part commits nothing; the high watermark is {mark}, not 5")
    stage.check(place.isr == {1, 2}, "a fetch from where logs part changes no ISR")
    stage.tell(f"in 1's name comes a fetch at 7 of epoch {before}: told to cut at 2, the high watermark stays at 5")
    stage.resume(1)
    place.check_equal(1, 2)


def shrink_commits(stage: Stage) -> None:
    """R7."""
    place = one_topic(stage, 1, 2)
    place.write(1)
    stage.isolate(1, 2)
    pending = place.send(1, place.values(1), within_s=15.0)
    stage.tell("1 and 2 do not hear each other; one record is sent with acks=all, and nothing after it")
    took_s = stage.wait(lambda: pending.is_done, "the record is answered", 20.0)
    written = place.written(pending)
    stage.check(
        written is not None and written.error is Errors.NONE, f"the record is acknowledged when 2 has left the ISR; it was {written}"
    )
    stage.check(place.isr == {1}, f"only 1 is in sync; the ISR is {sorted(place.isr)}")
    stage.wait(lambda: place.high_watermark(1) == 2, "the high watermark has moved", 1.0)
    stage.tell(f"2 has left the ISR; by that alone the record was committed, {took_s:.2f} s after it was sent")


def stale_follower_does_not_flap(stage: Stage) -> None:
    """R8."""
    place = one_topic(stage, 1, 2, min_insync_replicas=2)
    place.write(1)
    stage.wait(lambda: place.high_watermark(1) == 1, "the record is committed")
    stage.kill(2)
    place.wait_isr(1)
    count = 20
    for value in place.values(count):
        written = place.put(1, [value], acks=1)
        stage.check(written is not None and written.error is Errors.NONE, "a leader takes records with acks=1")
    mark = place.high_watermark(1)
    stage.check(mark == 1, f"with fewer in sync than min.insync.replicas nothing is committed; the high watermark is {mark}, not 1")
    stage.tell(f"2 is killed; 1 takes {count} records with acks=1, and its high watermark stays at 1")
    stage.delay(1, 2, 200.0)
    stage.restart(2)
    stage.tell("2 is back at the old high watermark, and gets one record each 200 ms")
    stage.wait(lambda: 2 in place.isr, "2 joins the ISR")
    stage.comes_to_be(lambda: place.end(2) == count + 1, 0.3)
    end = place.end(2)
    stage.check(end == count + 1, f"below min.insync.replicas a follower joins at the leader's end, {count + 1}, not at {end}")
    stage.wait(lambda: place.high_watermark(1) == count + 1, "all is committed")
    changes = [event.new_isr for event in stage.events(PartitionChanged) if event.topic == TOPIC and event.old_isr != event.new_isr]
    joined = next(index for index, isr in enumerate(changes) if set(isr) == {1, 2} and index > 0)
    stage.check(all(set(isr) == {1, 2} for isr in changes[joined:]), f"who has joined does not leave again; the ISR was {changes}")
    stage.tell(f"2 joined once, with all {count + 1} records; the high watermark is {count + 1}")


def stale_broker_epoch_does_not_join(stage: Stage) -> None:
    """R9."""
    place = one_topic(stage, 1, 2, 3)
    place.write(1)
    stale = stage.broker_epoch(3)
    stage.kill(3)
    stage.wait(lambda: stage.is_fenced(3) and place.isr == {1, 2}, "3 is fenced and out of the ISR")
    error = _alter_isr(stage, place, stale)
    stage.check(error is Errors.INELIGIBLE_REPLICA, f"a fenced broker does not join: INELIGIBLE_REPLICA, not {error.name}")
    stage.tell("3 is killed and fenced; 1 asks for it in the ISR: INELIGIBLE_REPLICA (107)")
    stage.cut(1, 3)
    stage.restart(3)
    stage.wait(lambda: stage.broker_epoch(3) > stale and not stage.is_fenced(3), "3 is back in service")
    error = _alter_isr(stage, place, stale)
    stage.check(error is Errors.INELIGIBLE_REPLICA, f"a broker of an earlier life does not join: INELIGIBLE_REPLICA, not {error.name}")
    stage.check(place.isr == {1, 2}, f"the ISR stays as it was; it is {sorted(place.isr)}")
    stage.tell(f"3 is back with epoch {stage.broker_epoch(3)}; 1 asks for it with epoch {stale}: INELIGIBLE_REPLICA (107)")
    stage.heal()
    place.wait_isr(1, 2, 3)
    stage.tell("when its link is whole, 3 joins with its present epoch")


def _alter_isr(stage: Stage, place: Place, epoch_of_3: int) -> Errors:
    """Ask in the leader's name for an ISR of all three; what the partition's answer is."""

    def attempt() -> Errors | None:
        controller = stage.active_controller()
        state = place.state
        assert state.leader is not None
        members = [{"broker_id": node_id, "broker_epoch": stage.broker_epoch(node_id)} for node_id in (1, 2)]
        body = {
            "broker_id": state.leader,
            "broker_epoch": stage.broker_epoch(state.leader),
            "topics": [
                {
                    "topic_id": stage.topic_id(place.topic),
                    "partitions": [
                        {
                            "partition_index": place.index,
                            "leader_epoch": state.leader_epoch,
                            "new_isr_with_epochs": [*members, {"broker_id": 3, "broker_epoch": epoch_of_3}],
                            "leader_recovery_state": 0,
                            "partition_epoch": state.partition_epoch,
                        }
                    ],
                }
            ],
        }
        response = None if controller is None else stage.ask(controller, ApiKey.ALTER_PARTITION, 3, body)
        if response is None or Errors(response.error_code) is Errors.NOT_CONTROLLER:
            return None
        stage.check(not response.error_code, f"the controller answers for the partition, not {Errors(response.error_code).name} for all")
        return Errors(response.topics[0].partitions[0].error_code)

    answer: Errors = stage.ask_until(attempt, "the controller answers AlterPartition")
    return answer


PAIR: Final = Setup(brokers=2)

SCENARIOS: Final = (
    Scenario(
        "R1",
        "A follower restarts behind the high watermark, and the leader dies",
        "KIP-101, KAFKA-1211",
        "The follower does not cut its log to the high watermark that it knew, and the acknowledged record survives.",
        follower_restarts_behind_the_high_watermark,
        PAIR,
    ),
    Scenario(
        "R2",
        "Both replicas lose what they had not flushed, and come back in the wrong order",
        "KIP-101",
        "What was lost is lost, but the logs do not diverge: the same records in the same epochs at the same offsets.",
        both_lose_what_was_not_flushed,
        Setup(brokers=2, may_lose=True),
    ),
    Scenario(
        "R3",
        "Three fast unclean elections",
        "KIP-279, KAFKA-6361",
        "The follower cuts its log epoch by epoch until it is a part of the leader's, and the logs are equal.",
        three_fast_unclean_elections,
        Setup(brokers=2, may_lose=True),
    ),
    Scenario(
        "R4",
        "Requests with stale and future leader epochs",
        "KIP-320",
        "FENCED_LEADER_EPOCH (74) and UNKNOWN_LEADER_EPOCH (75) everywhere, and a consumer is told where its log parts from the leader's.",
        stale_and_future_epochs,
    ),
    Scenario(
        "R5",
        "Elections one after another, and nobody writes",
        "KAFKA-10706",
        "Epochs without records leave nothing behind, followers are not stuck, and all logs are equal.",
        elections_without_data,
    ),
    Scenario(
        "R6",
        "A follower fetches from where its log has parted from the leader's",
        "KAFKA-13141, KIP-595",
        "It is told where to cut, and neither its state nor the high watermark on the leader moves.",
        diverging_fetch_moves_nothing,
        Setup(brokers=2, config={"broker.session.timeout.ms": 15_000, "replica.lag.time.max.ms": 15_000}),
    ),
    Scenario(
        "R7",
        "A follower falls silent, and no request comes after that",
        "KAFKA-13091",
        "When the controller has agreed to a smaller ISR, that alone moves the high watermark and answers the producer.",
        shrink_commits,
        PAIR,
    ),
    Scenario(
        "R8",
        "A follower at an old high watermark, and fewer in sync than min.insync.replicas",
        "KAFKA-19996, KIP-966",
        "It joins the ISR once, when it has all that the leader has, and does not leave again.",
        stale_follower_does_not_flap,
        Setup(brokers=2, config={"replica.fetch.max.bytes": 1, "replica.fetch.response.max.bytes": 1}),
    ),
    Scenario(
        "R9",
        "Somebody is to join the ISR with a stale broker epoch, or fenced",
        "KIP-903",
        "The controller answers INELIGIBLE_REPLICA (107), and the ISR stays as it was.",
        stale_broker_epoch_does_not_join,
    ),
)
