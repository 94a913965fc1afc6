"""R10 to R13 and R25: who may lead, what an unclean election costs, and what idempotent producers keep."""

from __future__ import annotations

from typing import Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.telemetry.events import PartitionChanged
from kafkalab.scenarios.client import Place, Written, producer_id
from kafkalab.scenarios.replication import QUIET_S, TOPIC, one_topic
from kafkalab.scenarios.scenario import Scenario
from kafkalab.scenarios.stage import Setup, Stage

UNSAFE: Final = "payments"


def last_replica_standing(stage: Stage) -> None:
    """R10."""
    place = one_topic(stage, 1, 2, 3, min_insync_replicas=2)
    place.write(5)
    stage.stop(1)
    place.wait_isr(2, 3)
    place.write(3)
    stage.tell("1 is stopped; 2 and 3 go on")
    stage.stop(2)
    place.wait_isr(3)
    stage.check(place.state.elr == (2,), f"2, which has all that is committed, is eligible to lead; the ELR is {place.state.elr}")
    written = place.put(3, place.values(1), acks=1)
    stage.check(written is not None and written.error is Errors.NONE, "a leader takes records with acks=1")
    stage.tell("2 is stopped and in the ELR; 3 is alone, with fewer in sync than min.insync.replicas, and takes one record with acks=1")
    stage.power_loss(3)
    stage.wait(lambda: place.leader is None, "nobody leads")
    stage.tell("3 loses its power and all that it had not flushed; nobody leads")
    stage.restart(3)
    stage.wait(lambda: not stage.is_fenced(3), "3 is back in service")
    stage.sleep(QUIET_S)
    stage.check(place.leader is None, f"3, which has lost its tail, does not lead; {place.leader} does")
    stage.tell("3 is back first, and does not lead")
    stage.restart(2)
    place.wait_leader(2)
    stage.check(_election(stage, TOPIC) == "elr", f"2 leads by the right of the ELR, not {_election(stage, TOPIC)!r}")
    stage.tell("2 is back, and leads by the right of the ELR")
    stage.restart(1)
    place.wait_isr(1, 2, 3)
    place.check_nothing_lost()
    place.check_equal(1, 2, 3)


def call_me_maybe(stage: Stage) -> None:
    """R11."""
    stage.create_topic(TOPIC, ((1, 2, 3),))
    stage.create_topic(UNSAFE, ((1, 2, 3),), min_insync_replicas=1, unclean_leader_election_enable=True)
    safe, unsafe = Place(stage, TOPIC), Place(stage, UNSAFE)
    stage.tell(f"{safe} has Kafka's settings; {unsafe} takes any leader (min.insync.replicas=1, unclean.leader.election.enable=true)")
    for place in (safe, unsafe):
        place.write(3)
    stage.isolate(1, 2)
    stage.isolate(1, 3)
    stage.tell("1, which leads both, and its peers do not hear each other; the controllers hear all")
    for place in (safe, unsafe):
        place.write(5)
        stage.check(place.isr == {1}, f"1 is alone in sync; the ISR is {sorted(place.isr)}")
    stage.tell("1 is alone in sync, and has acknowledged five more records of each")
    stage.kill(1)
    new = unsafe.wait_leader(2, 3)
    # Not before: what 1 had sent would still arrive.
    stage.heal()
    stage.wait(lambda: safe.leader is None, f"nobody leads {safe}")
    stage.check(_election(stage, UNSAFE) == "unclean", f"what was done is called unclean, not {_election(stage, UNSAFE)!r}")
    unsafe.write(2)
    stage.tell(f"1 is killed; nobody leads {safe}, {new} leads {unsafe} by an unclean election, and is told as such")
    stage.restart(1)
    safe.wait_leader(1)
    safe.wait_isr(1, 2, 3)
    safe.check_nothing_lost()
    unsafe.wait_isr(1, 2, 3)
    lost = unsafe.lost()
    stage.check(len(lost) == 5, f"the unclean election cost the five records that only 1 had; it cost {len(lost)}")
    stage.tell(f"{unsafe} lost {len(lost)} acknowledged records, as its settings allow")
    unsafe.check_equal(1, 2, 3)


def unclean_election(stage: Stage) -> None:
    """R12."""
    place = one_topic(stage, 1, 2, unclean_leader_election_enable=True)
    producer = producer_id(stage, 2)

    def put(node_id: int, sequence: int, *values: bytes) -> Written | None:
        return place.put(node_id, values, producer_id=producer, epoch=0, sequence=sequence)

    _expect(stage, put(1, 0, b"a", b"b", b"c"), Errors.NONE, 0)
    stage.wait(lambda: place.high_watermark(2) == 3, "both have the first three")
    before = place.state.leader_epoch
    stage.isolate(1, 2)
    _expect(stage, put(1, 3, b"d", b"e", b"f"), Errors.NONE, 3)
    stage.check(place.isr == {1}, f"1 is alone in sync; the ISR is {sorted(place.isr)}")
    stage.tell("1 and 2 do not hear each other; 1 is alone in sync, and has three more records of an idempotent producer")
    stage.kill(1)
    place.wait_leader(2)
    # Not before: what 1 had sent would still arrive.
    stage.heal()
    stage.check(_election(stage, TOPIC) == "unclean", f"the election is called unclean, not {_election(stage, TOPIC)!r}")
    part = place.fetch(2, 6)
    error = None if part is None else Errors(part.error_code)
    stage.check(error is Errors.OFFSET_OUT_OF_RANGE, f"a consumer at 6 of 3 is told OFFSET_OUT_OF_RANGE, not {error}")
    part = place.fetch(2, 6, last_fetched_epoch=before)
    told = None if part is None or part.error_code else (part.diverging_epoch.epoch, part.diverging_epoch.end_offset)
    stage.check(told == (before, 3), f"a consumer that tells its epoch hears that it ended at 3, not {told}")
    stage.tell("1 is killed, 2 leads uncleanly; a consumer at 6 hears OFFSET_OUT_OF_RANGE (1), or with its epoch that this ended at 3")
    _expect(stage, put(2, 6, b"g"), Errors.OUT_OF_ORDER_SEQUENCE_NUMBER)
    _expect(stage, put(2, 3, b"x", b"y"), Errors.NONE, 3)
    stage.tell("the producer's next number is refused (45), for 2 never had those before it; numbers from 3 on are taken at 3")
    stage.restart(1)
    place.wait_isr(1, 2)
    place.check_equal(1, 2)
    stage.stop(2)
    place.wait_leader(1)
    _expect(stage, put(1, 3, b"x", b"y"), Errors.NONE, 3)
    _expect(stage, put(1, 6, b"g"), Errors.OUT_OF_ORDER_SEQUENCE_NUMBER)
    _expect(stage, put(1, 5, b"z"), Errors.NONE, 5)
    stage.tell("1 has cut its tail and forgotten what the producer had in it: it knows 3 and 4 again, refuses 6, takes 5")


def idempotent_retry(stage: Stage) -> None:
    """R13."""
    place = one_topic(stage, 1, 2)
    producer = producer_id(stage, 2)

    def put(node_id: int, sequence: int, *values: bytes) -> Written | None:
        return place.put(node_id, values, producer_id=producer, epoch=0, sequence=sequence)

    def repeat(node_id: int) -> None:
        _expect(stage, put(node_id, 3, b"d", b"e", b"f"), Errors.NONE, 3)
        _expect(stage, put(node_id, 0, b"a", b"b", b"c"), Errors.NONE, 0)
        _expect(stage, put(node_id, 9, b"later"), Errors.OUT_OF_ORDER_SEQUENCE_NUMBER)
        stage.check(place.end(node_id) in (6, -1), f"nothing was appended; the end is {place.end(node_id)}")

    _expect(stage, put(1, 0, b"a", b"b", b"c"), Errors.NONE, 0)
    _expect(stage, put(1, 3, b"d", b"e", b"f"), Errors.NONE, 3)
    stage.stop(1)
    place.wait_leader(2)
    repeat(2)
    stage.tell("1 is stopped; 2 answers repeats with their first offsets, and a gap with OUT_OF_ORDER_SEQUENCE_NUMBER (45)")
    files = stage.files(1)
    snapshots = [name for name in files.names(f"{TOPIC}-0") if name.endswith(".snapshot")]
    stage.check(snapshots, "a broker that stops in order leaves a snapshot of its producers")
    for name in snapshots:
        files.remove(name)
    stage.restart(1)
    place.wait_isr(1, 2)
    stage.kill(2)
    place.wait_leader(1)
    repeat(1)
    stage.tell("1 lost its snapshots of producers and is back; 2 is killed; 1 leads and knows the same")
    stage.restart(2)
    place.wait_isr(1, 2)
    _expect(stage, put(1, 6, b"g"), Errors.NONE, 6)
    place.check_nothing_lost()
    place.check_equal(1, 2)


def paused_leader(stage: Stage) -> None:
    """R25."""
    place = one_topic(stage, 1, 2, 3, min_insync_replicas=2)
    place.write(3)
    before = place.state.leader_epoch
    stage.pause(1)
    pending = place.send(1, [b"to the one that sleeps"], within_s=20.0)
    stage.tell("1, which leads, is paused; a record is sent to it with acks=all")
    new = place.wait_leader(2, 3)
    place.write(4)
    stage.tell(f"1 is fenced; {new} leads and has acknowledged four records")
    stage.resume(1)
    stage.wait(lambda: pending.is_done, "the old leader answers, or hangs up", 25.0)
    written = place.written(pending)
    stage.check(
        written is None or written.error is not Errors.NONE,
        f"the old leader acknowledges nothing at an offset that another has given away: {written}",
    )
    place.wait_isr(1, 2, 3)
    written = place.put(1, [b"again"])
    stage.check(
        written is not None and written.error is Errors.NOT_LEADER_OR_FOLLOWER,
        f"who leads no longer says so: NOT_LEADER_OR_FOLLOWER, not {written}",
    )
    part = place.fetch(1, 0, current_leader_epoch=before)
    error = None if part is None else Errors(part.error_code)
    stage.check(error is Errors.FENCED_LEADER_EPOCH, f"epoch {before} is over, at 1 too: FENCED_LEADER_EPOCH, not {error}")
    answer = "nothing" if pending.response is None else f"{Place.written(pending)}"
    stage.tell(
        f"1 goes on: its answer to the record was {answer}; it says NOT_LEADER_OR_FOLLOWER (6), FENCED_LEADER_EPOCH (74), and follows"
    )
    place.check_nothing_lost()
    place.check_equal(1, 2, 3)


def _election(stage: Stage, topic: str) -> str:
    """By what right a topic's present leader leads, as the controller told."""
    told = ""

    def is_told() -> bool:
        nonlocal told
        elections = [event for event in stage.events(PartitionChanged) if event.topic == topic and event.new_leader != event.old_leader]
        told = next((event.election for event in reversed(elections) if event.new_leader >= 0), "")
        return bool(elections) and elections[-1].new_leader >= 0

    stage.comes_to_be(is_told, 1.0)
    return told


def _expect(stage: Stage, written: Written | None, error: Errors, offset: int = -1) -> None:
    due = f"{error.name}{f' at {offset}' if offset >= 0 else ''}"
    is_so = written is not None and written.error is error and (offset < 0 or written.base_offset == offset)
    stage.check(is_so, f"a batch is answered {due}, not {written}")


SCENARIOS: Final = (
    Scenario(
        "R10",
        "The last replica standing loses its tail in a power cut",
        "KIP-966",
        "An eligible leader replica leads, never the one that lost its tail, and nothing that was acknowledged is lost.",
        last_replica_standing,
    ),
    Scenario(
        "R11",
        "Call me maybe: the leader is cut from its peers, goes on, and is killed",
        "Jepsen 2013, KAFKA-1555",
        "With Kafka's settings nothing is lost; with unclean elections and min.insync.replicas=1 there is a loss, called by its name.",
        call_me_maybe,
        Setup(may_lose=True),
    ),
    Scenario(
        "R12",
        "An unclean election",
        "KIP-320, KAFKA-9889",
        "The divergent tail is cut everywhere, consumers hear of it, and all replicas know the same of each producer.",
        unclean_election,
        Setup(brokers=2, may_lose=True),
    ),
    Scenario(
        "R13",
        "An idempotent producer tries again, after a failover, a restart and the loss of producer snapshots",
        "KIP-360, KAFKA-7190",
        "Repeats are answered with their first offsets, a true gap with OUT_OF_ORDER_SEQUENCE_NUMBER (45), and nothing is there twice.",
        idempotent_retry,
        Setup(brokers=2),
    ),
    Scenario(
        "R25",
        "The leader sleeps longer than its session, and wakes",
        "KIP-631, KAFKA-2357",
        "The old leader acknowledges nothing, says that it leads no longer, and follows; no offset has two records.",
        paused_leader,
    ),
)
