"""A simulated consumer: it reads partitions that it was assigned, in fetch sessions, from their beginning on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, iter_headers, records_of
from kafkalab.engine.simulation.client import BACKOFF_MS, REQUEST_TIMEOUT_MS, SimClient
from kafkalab.engine.simulation.history import History, Place, Poll

if TYPE_CHECKING:
    from kafkalab.engine.simulation.world import SimWorld

FETCH_WAIT_MS: Final = 500
FETCH_BYTES: Final = 1_048_576
EARLIEST: Final = -2
"""The timestamp that stands for a log's first offset."""
SESSION_ERRORS: Final = frozenset(
    {Errors.FETCH_SESSION_ID_NOT_FOUND, Errors.INVALID_FETCH_SESSION_EPOCH, Errors.FETCH_SESSION_TOPIC_ID_ERROR}
)


class _FetchSession:
    """What a broker remembers of a consumer's last fetch."""

    __slots__ = ("epoch", "id", "partitions")

    def __init__(self) -> None:
        self.id = 0
        self.epoch = 0
        self.partitions: dict[Place, tuple[int, int]] = {}


class SimConsumer(SimClient):
    """Reads partitions that it was assigned, from their beginning on.

    :param is_committed: whether it reads at read_committed.
    :param may_reset: where its offset is out of range it begins anew at the log's start (auto.offset.reset).
    """

    def __init__(
        self, world: SimWorld, name: str, history: History, places: list[Place], *, is_committed: bool = False, may_reset: bool = False
    ) -> None:
        super().__init__(world, name)
        self.history = history
        self.is_committed = is_committed
        self.may_reset = may_reset
        self.resets = 0
        self.positions: dict[Place, int] = dict.fromkeys(places, 0)
        self.high_watermarks: dict[Place, int] = {}
        self.topics = tuple(sorted({topic for topic, _ in places}))
        self.is_assigned = True
        self.run_number = 0
        self.out_of_range: list[str] = []
        self._fetching: set[int] = set()
        self._sessions: dict[int, _FetchSession] = {}
        self._is_waiting = False
        self._resetting: set[Place] = set()

    def start(self) -> None:
        """Begin."""
        self.loop.run(lambda: self.refresh(self._fetch_all))

    def _fetch_all(self) -> None:
        by_leader: dict[int, dict[Place, tuple[int, int]]] = {}
        leaders = self.leaders
        for place, position in self.positions.items():
            known = leaders.get(place)
            if known is None or known[0] < 0 or place in self._resetting:
                self._wait()
            elif known[0] not in self._fetching:
                by_leader.setdefault(known[0], {})[place] = (position, known[1])
        for leader, wanted in by_leader.items():
            self._fetch(leader, wanted)

    def _wait(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self.later(BACKOFF_MS * (0.5 + self.rng.random()), lambda: self.refresh(self._go_on))

    def _go_on(self) -> None:
        self._is_waiting = False
        self._fetch_all()

    def _fetch(self, leader: int, wanted: dict[Place, tuple[int, int]]) -> None:
        """``wanted`` is what to read there: position and leader epoch. A session (KIP-227) spares saying it all again."""
        session = self._sessions.setdefault(leader, _FetchSession())
        topics: dict[str, list[dict[str, Any]]] = {}
        forgotten: dict[str, list[int]] = {}
        known = session.partitions
        for place, what in wanted.items():
            if known.get(place) != what:
                topics.setdefault(place[0], []).append(
                    {
                        "partition": place[1],
                        "current_leader_epoch": what[1],
                        "fetch_offset": what[0],
                        "last_fetched_epoch": -1,
                        "log_start_offset": -1,
                        "partition_max_bytes": FETCH_BYTES,
                    }
                )
        for place in known:
            if place not in wanted:
                forgotten.setdefault(place[0], []).append(place[1])
        session.partitions = wanted
        body = {
            "max_wait": FETCH_WAIT_MS,
            "min_bytes": 1,
            "max_bytes": 50 * FETCH_BYTES,
            "isolation_level": int(self.is_committed),
            "session_id": session.id,
            "session_epoch": session.epoch,
            "topics": [{"topic_id": self.topic_ids[topic], "partitions": partitions} for topic, partitions in topics.items()],
            "forgotten_topics_data": [
                {"topic_id": self.topic_ids[topic], "partitions": partitions} for topic, partitions in forgotten.items()
            ],
            "rack_id": "",
        }
        self._fetching.add(leader)
        run = self.run_number

        def answered(response: Any | None) -> None:
            self._fetching.discard(leader)
            if response is None or response.error_code:
                # The next request opens another session.
                del self._sessions[leader]
            else:
                session.id = response.session_id
                session.epoch = (session.epoch + 1) & 0x7FFFFFFF if session.id else 0
                if not session.id:
                    session.partitions = {}
            if run == self.run_number:
                self._fetched(response)
            else:
                # What is read now may have waited for this connection.
                self._fetch_all()

        self.ask(leader, ApiKey.FETCH, body, answered, REQUEST_TIMEOUT_MS)

    def _fetched(self, response: Any | None) -> None:
        if response is None or response.error_code:
            if response is not None and Errors(response.error_code) in SESSION_ERRORS:
                self._fetch_all()
            else:
                self._wait()
            return
        for topic in response.responses:
            name = self.topic_names.get(topic.topic_id, "")
            for partition in topic.partitions:
                place = (name, partition.partition_index)
                error = Errors(partition.error_code)
                if error is Errors.OFFSET_OUT_OF_RANGE:
                    if self.may_reset:
                        self._reset(place)
                        continue
                    self.out_of_range.append(f"{name}-{place[1]}@{self.positions.get(place)} at {self.clock.now_ms():.0f} ms")
                    self.forget_leader(place)
                    self._wait()
                elif error:
                    self.forget_leader(place)
                    self._wait()
                elif place in self.positions:
                    self.high_watermarks[place] = partition.high_watermark
                    if partition.records:
                        self._read(place, partition.records)
        self._fetch_all()

    def _read(self, place: Place, data: bytes) -> None:
        position = next_offset = self.positions[place]
        records: list[tuple[int, bytes]] = []
        epochs: list[int] = []
        for at, header in iter_headers(data):
            # Past batches whose records are all compacted away, too.
            next_offset = max(next_offset, header.next_offset)
            for record in records_of(data, at, header):
                if record.offset >= position:
                    records.append((record.offset, _identity(record)))
                    epochs.append(header.partition_leader_epoch)
        if next_offset > position:
            self.positions[place] = next_offset
            for check in self.world.read_checks:
                check(self.name, *place, next_offset)
            poll = Poll(self.name, self.run_number, self.is_assigned, place, self.clock.now_ms(), tuple(records), tuple(epochs))
            self.history.polls.append(poll)

    def _reset(self, place: Place) -> None:
        """Ask where the log begins, and go on from there; what is read of anything from then on is another run."""
        leader = self.leader_of(place)
        if leader is None or place in self._resetting:
            self._wait()
            return
        topic, partition = place
        body = {
            "replica_id": -1,
            "isolation_level": 0,
            "topics": [{"name": topic, "partitions": [{"partition_index": partition, "current_leader_epoch": -1, "timestamp": EARLIEST}]}],
        }
        self._resetting.add(place)

        def answered(response: Any | None) -> None:
            self._resetting.discard(place)
            found = None if response is None else response.topics[0].partitions[0]
            if found is not None and not found.error_code:
                self.positions[place] = found.offset
                self.run_number += 1
                self.resets += 1
            else:
                self.forget_leader(place)
            self._wait()

        self.ask(leader, ApiKey.LIST_OFFSETS, body, answered, REQUEST_TIMEOUT_MS)


def _identity(record: Record) -> bytes:
    """What a record is told apart by: its value, or what a tombstone's only header says."""
    if record.value is None and record.headers:
        return record.headers[0][1] or b""
    return record.value or b""
