"""R22 and R23: disks that fill, break, and hold half of what was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import iter_headers
from kafkalab.engine.telemetry.events import LogRecovered
from kafkalab.scenarios.client import Place, Written, epoch_end, producer_id
from kafkalab.scenarios.replication import TOPIC, one_topic
from kafkalab.scenarios.scenario import Scenario
from kafkalab.scenarios.stage import Setup, Stage


def full_directory(stage: Stage) -> None:
    """R22."""
    stage.create_topic(TOPIC, ((1, 2),) * 4)
    places = [Place(stage, TOPIC, index) for index in range(4)]
    for place in places:
        place.write(2)
    second = _in_second_directory(stage)
    stage.check(0 < len(second) < 4, f"a broker uses all its directories; the second one has {sorted(second)}")
    gone = [place for place in places if place.index in second]
    stay = [place for place in places if place.index not in second]
    stage.tell(f"1 leads four partitions; {', '.join(map(str, gone))} lie in its second log directory")
    stage.fill_disk(1, 2)
    written = gone[0].put(1, gone[0].values(1))
    stage.check(
        written is not None and written.error is Errors.KAFKA_STORAGE_ERROR,
        f"a record that cannot be written is answered KAFKA_STORAGE_ERROR, not {written}",
    )
    for place in gone:
        place.wait_leader(2)
    stage.tell("that directory is full: a record is answered KAFKA_STORAGE_ERROR (56), and 2 leads what lies there")
    for place in stay:
        place.write(2)
        stage.check(place.leader == 1, f"1 goes on with what lies in its other directory; {place.leader} leads {place}")
    for place in gone:
        place.write(2)
    stage.check(stage.is_alive(1) and not stage.is_fenced(1), "a broker that has a directory left goes on")
    stage.tell("1 goes on, and leads what lies in its first directory")
    stage.break_disk(1, kind="read_only")
    stay[0].send(1, stay[0].values(1), within_s=5.0)
    stage.wait(lambda: not stage.is_alive(1), "a broker without a directory halts")
    for place in places:
        place.wait_leader(2)
        place.write(1)
    stage.tell("all its disks are read-only: 1 has halted, 2 leads everything")
    stage.heal_disk(1)
    stage.restart(1)
    for place in places:
        place.wait_isr(1, 2)
        place.check_nothing_lost()


def _in_second_directory(stage: Stage) -> set[int]:
    """The partitions that lie in broker 1's second directory."""

    def attempt() -> set[int] | None:
        response = stage.ask(1, ApiKey.DESCRIBE_LOG_DIRS, 4, {"topics": None})
        if response is None or response.error_code:
            return None
        return {
            partition.partition_index
            for result in response.results
            if result.log_dir.endswith("dir-2")
            for topic in result.topics
            if topic.name == TOPIC
            for partition in topic.partitions
        }

    found: set[int] = stage.ask_until(attempt, "broker 1 tells of its directories")
    return found


def torn_tail(stage: Stage) -> None:
    """R23."""
    place = one_topic(stage, 1)
    producer = producer_id(stage, 1)

    def put(sequence: int) -> Written | None:
        return place.put(1, [b"value-%d" % sequence], producer_id=producer, epoch=0, sequence=sequence)

    def expect(sequence: int, error: Errors = Errors.NONE) -> None:
        written = put(sequence)
        is_so = written is not None and written.error is error and (error is not Errors.NONE or written.base_offset == sequence)
        stage.check(is_so, f"number {sequence} is answered {error.name}, with its own offset where it is taken; told was {written}")

    for sequence in range(3):
        expect(sequence)
    first = place.state.leader_epoch
    stage.kill(1)
    stage.wait(lambda: place.leader is None, "nobody leads")
    stage.restart(1)
    place.wait_leader(1)
    for sequence in range(3, 6):
        expect(sequence)
    second = place.state.leader_epoch
    stage.tell(f"1 has records 0 to 2 of epoch {first} and, after a restart, 3 to 5 of epoch {second}")
    _cut_after_a_kill(stage, place, "torn", _tear, 5)
    _cut_after_a_kill(stage, place, "corrupt", _corrupt, 4)
    answer = epoch_end(place, 1, first)
    stage.check(answer == (Errors.NONE, first, 3), f"epoch {first} ends at 3; told was {answer}")
    expect(3)
    expect(6, Errors.OUT_OF_ORDER_SEQUENCE_NUMBER)
    expect(4)
    stage.tell("it knows where epochs end, and of the producer: 3 is a repeat, 6 is too early, 4 is taken at 4")


def _cut_after_a_kill(stage: Stage, place: Place, what: str, damage: Callable[[Stage], int], end: int) -> None:
    stage.kill(1)
    stage.wait(lambda: place.leader is None, "nobody leads")
    cut_bytes = damage(stage)
    known = len(stage.events(LogRecovered))
    stage.restart(1)
    place.wait_leader(1)
    stage.comes_to_be(lambda: place.end(1) == end, 1.0)
    stage.check(place.end(1) == end, f"the log is cut after its last whole batch, at {end}, not at {place.end(1)}")
    told = [event.cut_bytes for event in stage.events(LogRecovered)[known:] if event.topic == TOPIC]
    stage.check(told == [cut_bytes], f"it tells of the {cut_bytes} bytes that it cut, not {told}")
    values = [record.value for record in place.read()]
    stage.check(values == [b"value-%d" % number for number in range(end)], f"all that is whole is there: {values}")
    stage.tell(f"1 is killed and its last batch is {what}: it cuts {cut_bytes} bytes, and ends at {end}")


def _log_file(stage: Stage) -> tuple[str, bytes]:
    files = stage.files(1)
    name = next(name for name in files.names(f"{TOPIC}-0") if name.endswith(".log"))
    return name, files.read(name)


def _last_batch(content: bytes) -> int:
    """Where it begins. Files may have room behind their last batch."""
    return max(at for at, _ in iter_headers(content))


def _end(content: bytes) -> int:
    return max(at + header.size_bytes for at, header in iter_headers(content))


def _tear(stage: Stage) -> int:
    """Leave half of the last batch; how many bytes of it are left."""
    name, content = _log_file(stage)
    last, end = _last_batch(content), _end(content)
    torn = content[: (last + end) // 2]
    stage.files(1).write(name, torn)
    return len(torn) - last


def _corrupt(stage: Stage) -> int:
    """Change a byte of the last batch; how many bytes it has."""
    name, content = _log_file(stage)
    last, end = _last_batch(content), _end(content)
    stage.files(1).write(name, content[: end - 1] + bytes([content[end - 1] ^ 0xFF]))
    return end - last


SCENARIOS: Final = (
    Scenario(
        "R22",
        "A log directory is full, and then all are read-only",
        "KIP-112, KIP-858",
        "KAFKA_STORAGE_ERROR (56), leadership moves, the broker goes on with its other directory; without one it halts. Nothing is lost.",
        full_directory,
        Setup(brokers=2, log_dirs=2),
    ),
    Scenario(
        "R23",
        "The end of a log is torn, or corrupt, after a crash",
        "KIP-98, KAFKA-3919",
        "The log is cut after its last whole batch, and what it knows of epochs and producers is what is left in it.",
        torn_tail,
        Setup(brokers=1, may_lose=True),
    ),
)
