"""What scripts write and read with: one partition, its leader found anew for each request, and what was acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch, iter_headers, records_of
from kafkalab.scenarios.stage import REQUEST_WITHIN_S, WITHIN_S, PartitionState, Pending, ReplicaState, Stage

PRODUCE_VERSION: Final = 11
FETCH_VERSION: Final = 17
FETCH_BYTES: Final = 8 * 1024 * 1024
ACKS_ALL: Final = -1


class Read(NamedTuple):
    """A record that was read."""

    offset: int
    value: bytes
    leader_epoch: int


class Written(NamedTuple):
    """What a broker said of a batch."""

    error: Errors
    base_offset: int


class Place:
    """A partition of a topic, and what a script knows of it."""

    def __init__(self, stage: Stage, topic: str, index: int = 0) -> None:
        self.stage = stage
        self.topic = topic
        self.index = index
        self.acknowledged: list[tuple[int, bytes]] = []
        """Offset and value: what was acknowledged with acks=all, also where two were given one offset."""
        self._written = 0

    def __str__(self) -> str:
        return f"{self.topic}-{self.index}"

    # --- what is known ---------------------------------------------------------------------------------

    @property
    def state(self) -> PartitionState:
        """By the newest metadata."""
        state = self.stage.partition(self.topic, self.index)
        assert state is not None, f"{self} is there"
        return state

    @property
    def leader(self) -> int | None:
        """Who leads."""
        return self.state.leader

    @property
    def isr(self) -> frozenset[int]:
        """Who is in sync."""
        return frozenset(self.state.isr)

    def replica(self, node_id: int) -> ReplicaState | None:
        """A replica as its broker tells of it."""
        return self.stage.replica(node_id, self.topic, self.index)

    def end(self, node_id: int) -> int:
        """A replica's end; -1 where it is not there."""
        replica = self.replica(node_id)
        return -1 if replica is None else replica.log_end_offset

    def high_watermark(self, node_id: int) -> int:
        """A replica's high watermark; -1 where it is not there."""
        replica = self.replica(node_id)
        return -1 if replica is None else replica.high_watermark

    def wait_leader(self, *node_ids: int, within_s: float = WITHIN_S) -> int:
        """Until one of these leads, or anybody where none is named, and knows it; who."""

        def is_led() -> bool:
            leader = self.leader
            replica = None if leader is None else self.replica(leader)
            return (
                replica is not None
                and (leader in node_ids or not node_ids)
                and replica.is_leader
                and replica.leader_epoch == self.state.leader_epoch
            )

        self.stage.wait(is_led, f"{self} is led by {' or '.join(map(str, node_ids)) or 'somebody'}", within_s)
        leader = self.leader
        assert leader is not None
        return leader

    def wait_isr(self, *node_ids: int, within_s: float = WITHIN_S) -> None:
        """Until exactly these are in sync."""
        self.stage.wait(lambda: self.isr == set(node_ids), f"{self} has the ISR {sorted(node_ids)}", within_s)

    # --- writing ---------------------------------------------------------------------------------------

    def send(
        self,
        node_id: int,
        values: Sequence[bytes],
        *,
        acks: int = ACKS_ALL,
        producer_id: int = -1,
        epoch: int = -1,
        sequence: int = -1,
        within_s: float = REQUEST_WITHIN_S,
    ) -> Pending:
        """One batch to one broker, once."""
        # Records of long ago would be deleted after a while, as retention says.
        timestamp_ms = self.stage.wall_ms()
        records = build_batch(
            [Record(number, timestamp_ms, None, value, ()) for number, value in enumerate(values)],
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
        )
        body = {
            "transactional_id": None,
            "acks": acks,
            "timeout": int(within_s * 1000.0),
            "topic_data": [{"name": self.topic, "partition_data": [{"index": self.index, "records": records}]}],
        }
        return self.stage.send(node_id, ApiKey.PRODUCE, PRODUCE_VERSION, body, within_s)

    @staticmethod
    def written(pending: Pending) -> Written | None:
        """What a broker said of a batch; None where it has not, or never will."""
        if pending.response is None:
            return None
        result = pending.response.responses[0].partition_responses[0]
        return Written(Errors(result.error_code), result.base_offset)

    def put(self, node_id: int, values: Sequence[bytes], **options: Any) -> Written | None:
        """One batch to one broker, once, and its answer; None where none comes."""
        pending = self.send(node_id, values, **options)
        within_s = options.get("within_s", REQUEST_WITHIN_S)
        self.stage.comes_to_be(lambda: pending.is_done, within_s + 1.0)
        written = self.written(pending)
        if written is not None and written.error is Errors.NONE and options.get("acks", ACKS_ALL) == ACKS_ALL:
            self.acknowledged += enumerate(values, written.base_offset)
        return written

    def values(self, count: int) -> list[bytes]:
        """New values, each different from all others."""
        first, self._written = self._written, self._written + count
        return [b"%s-%d" % (self.topic.encode(), number) for number in range(first, first + count)]

    def write(self, count: int = 1, *, acks: int = ACKS_ALL, within_s: float = WITHIN_S) -> None:
        """So many records, one after another, each sent to whoever leads until it is acknowledged.

        :raises Violated: when one is not in time.
        """
        for value in self.values(count):

            def attempt(value: bytes = value) -> bool | None:
                leader = self.leader
                written = None if leader is None else self.put(leader, [value], acks=acks, within_s=min(within_s, 5.0))
                return True if written is not None and written.error is Errors.NONE else None

            self.stage.ask_until(attempt, f"a record is acknowledged by {self}", within_s)

    # --- reading ---------------------------------------------------------------------------------------

    def fetch(
        self,
        node_id: int,
        offset: int,
        *,
        current_leader_epoch: int = -1,
        last_fetched_epoch: int = -1,
        as_replica: int | None = None,
        broker_epoch: int | None = None,
        within_s: float = REQUEST_WITHIN_S,
    ) -> Any | None:
        """One fetch from one broker; the partition's part of its answer.

        :param as_replica: say to be this broker.
        :param broker_epoch: and of this epoch; the present one where it is not said.
        """
        partition = {
            "partition": self.index,
            "current_leader_epoch": current_leader_epoch,
            "fetch_offset": offset,
            "last_fetched_epoch": last_fetched_epoch,
            "log_start_offset": -1,
            "partition_max_bytes": FETCH_BYTES,
        }
        body: dict[str, Any] = {
            "max_wait": 0,
            "min_bytes": 0,
            "max_bytes": FETCH_BYTES,
            "isolation_level": 0,
            "session_id": 0,
            "session_epoch": -1,
            "topics": [{"topic_id": self.stage.topic_id(self.topic), "partitions": [partition]}],
            "forgotten_topics_data": [],
            "rack_id": "",
        }
        if as_replica is not None:
            told = self.stage.broker_epoch(as_replica) if broker_epoch is None else broker_epoch
            body["replica_state"] = {"replica_id": as_replica, "replica_epoch": told}
        response = self.stage.ask(node_id, ApiKey.FETCH, FETCH_VERSION, body, within_s)
        if response is None or not response.responses:
            return None
        return response.responses[0].partitions[0]

    def read(self, node_id: int | None = None) -> list[Read]:
        """All that consumers may read, from the leader or from the replica of a broker.

        :raises Violated: when nobody answers in time, or with an error.
        """
        found: list[Read] = []
        offset = 0
        replica = None if node_id is None else self.replica(node_id)
        if replica is not None:
            offset = replica.log_start_offset
        while True:

            def attempt(offset: int = offset) -> Any | None:
                at = self.leader if node_id is None else node_id
                part = None if at is None else self.fetch(at, offset)
                return part if part is not None and Errors(part.error_code) is Errors.NONE else None

            part = self.stage.ask_until(attempt, f"{self} is read at {offset} from {node_id or 'its leader'}")
            if not part.records:
                return found
            for at, header in iter_headers(part.records):
                if not header.is_control:
                    found += [
                        Read(record.offset, record.value or b"", header.partition_leader_epoch)
                        for record in records_of(part.records, at, header)
                        if record.offset >= offset
                    ]
                next_offset = header.next_offset
            offset = next_offset

    def lost(self) -> list[tuple[int, bytes]]:
        """What was acknowledged with acks=all and is not at its offset any more."""
        there = {record.offset: record.value for record in self.read()}
        return [(offset, value) for offset, value in self.acknowledged if there.get(offset) != value]

    def check_nothing_lost(self) -> None:
        """
        :raises Violated: when something acknowledged is not there.
        """
        lost = self.lost()
        self.stage.check(not lost, f"{self} lost what it had acknowledged: {lost[:5]}")
        self.stage.tell(f"all {len(self.acknowledged)} acknowledged records of {self} are at their offsets")

    def check_equal(self, *node_ids: int) -> None:
        """Wait until these replicas have one end, all of it committed, and compare what they hold.

        :raises Violated: when they differ.
        """

        different: object = None

        def is_even() -> bool:
            nonlocal different
            ends = {node_id: self.end(node_id) for node_id in node_ids}
            logs = {node_id: self.read(node_id) for node_id in node_ids}
            different = ends
            first = logs[node_ids[0]]
            for node_id, log in logs.items():
                if log != first:
                    pair = next((pair for pair in zip(first, log, strict=False) if pair[0] != pair[1]), (len(first), len(log)))
                    different = f"{node_ids[0]} and {node_id}: {pair}"
                    return False
            return len(set(ends.values())) == 1 and bool(first) and first[-1].offset == ends[node_ids[0]] - 1

        equal = self.stage.comes_to_be(is_even, WITHIN_S)
        self.stage.check(equal, f"the replicas of {self} come to be equal; they differ: {different}")
        self.stage.tell(f"the logs of {self} on {', '.join(map(str, node_ids))} are equal, epochs and all, up to {self.end(node_ids[0])}")


def producer_id(stage: Stage, node_id: int) -> int:
    """A producer id that nobody else has."""
    body = {"transactional_id": None, "transaction_timeout": 60_000, "producer_id": -1, "producer_epoch": -1}

    def attempt() -> int | None:
        response = stage.ask(node_id, ApiKey.INIT_PRODUCER_ID, 4, body)
        return response.producer_id if response is not None and not response.error_code else None

    found: int = stage.ask_until(attempt, "a producer id is given")
    return found


def epoch_end(place: Place, node_id: int, epoch: int, *, current_leader_epoch: int = -1) -> tuple[Errors, int, int]:
    """Where a leader's epoch ends in a broker's log: the answer's error, epoch and end offset."""
    partition = {"partition": place.index, "current_leader_epoch": current_leader_epoch, "leader_epoch": epoch}
    body = {"replica_id": -1, "topics": [{"topic": place.topic, "partitions": [partition]}]}
    response = place.stage.ask_until(
        lambda: place.stage.ask(node_id, ApiKey.OFFSET_FOR_LEADER_EPOCH, 4, body), f"broker {node_id} tells of epoch {epoch}"
    )
    part = response.topics[0].partitions[0]
    return Errors(part.error_code), part.leader_epoch, part.end_offset


def latest_offset(place: Place, node_id: int, *, current_leader_epoch: int = -1) -> tuple[Errors, int]:
    """What ListOffsets says of the end: the answer's error and offset."""
    partition = {"partition_index": place.index, "current_leader_epoch": current_leader_epoch, "timestamp": -1}
    body = {"replica_id": -1, "isolation_level": 0, "topics": [{"name": place.topic, "partitions": [partition]}]}
    response = place.stage.ask_until(
        lambda: place.stage.ask(node_id, ApiKey.LIST_OFFSETS, 8, body), f"broker {node_id} tells of the end of {place}"
    )
    part = response.topics[0].partitions[0]
    return Errors(part.error_code), part.offset
