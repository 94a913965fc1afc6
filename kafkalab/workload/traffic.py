"""A paced producer with keys and a group of consumers on one topic, each in a thread of its own.

Nothing here makes its caller wait: a start, a stop or a change takes effect a moment later, and a cluster that does
not answer shows in the counters and in ``last_error``.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Literal, get_args

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kafkalab.workload.pacing import Pace
from kafkalab.workload.status import WorkloadStatus

_log = logging.getLogger(__name__)
# librdkafka tells of each lost connection; that is what this program is for, and the window shows it better.
_librdkafka_log = logging.getLogger("librdkafka")

Acks = Literal["0", "1", "all"]
ACKS: Final[tuple[str, ...]] = get_args(Acks)

TOPIC: Final = "orders"
PARTITIONS: Final = 3
GROUP_ID: Final = "billing"
PRODUCER_CLIENT_ID: Final = "order-producer"
MEMBERS: Final = 3
RATE_PER_S: Final = 200.0
RATE_MAX_PER_S: Final = 50_000.0
CUSTOMERS: Final = 97
TICK_MIN_S: Final = 0.005
TICK_MAX_S: Final = 0.1
RETRY_WAIT_S: Final = 0.25
ADMIN_TIMEOUT_S: Final = 5.0
FLUSH_TIMEOUT_S: Final = 2.0
RECORDS_PER_POLL_MAX: Final = 1_000
POLL_TIMEOUT_S: Final = 0.2
HEARTBEAT_INTERVAL_MS: Final = 2_500
SESSION_TIMEOUT_MS: Final = 20_000
"""Longer than a killed broker's own session and a heartbeat: meanwhile commits wait for the ISR, and heartbeats behind them."""
PADDING: Final = "·" * 8


class _Run:
    """From one start to its stop."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.sent = 0  # these three by the producer's thread
        self.acknowledged = 0
        self.failed = 0
        self.consumed = [0] * MEMBERS  # each by its member's thread
        self.last_error = ""


class Workload:
    """Traffic on topic ``orders``: start, stop, rate and acks. All methods may be called from any thread."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic: str = TOPIC,
        partitions: int = PARTITIONS,
        group_id: str = GROUP_ID,
        rate_per_s: float = RATE_PER_S,
        acks: str = "all",
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._partitions = partitions
        self._group_id = group_id
        self._lock = threading.Lock()
        self._rate_per_s = _checked_rate(rate_per_s)
        self._acks = _checked_acks(acks)
        self._run: _Run | None = None
        self._runs: list[_Run] = []

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._run is not None

    def start(self) -> None:
        """Let records flow; harmless when they do already."""
        with self._lock:
            if self._run is not None:
                return
            run = self._run = _Run()
            self._runs.append(run)
            jobs: list[tuple[str, Callable[[], None]]] = [("producer", lambda: self._produce(run))]
            jobs += [(f"member-{i + 1}", lambda i=i: self._consume(run, i)) for i in range(MEMBERS)]  # type: ignore[misc]
            for name, job in jobs:
                run.threads.append(threading.Thread(target=job, name=f"kafkalab-workload-{name}", daemon=True))
            for thread in run.threads:
                thread.start()

    def stop(self) -> None:
        """Let them cease; returns at once, and the clients say goodbye by themselves."""
        with self._lock:
            if self._run is not None:
                self._run.stopping.set()
                self._run = None

    def close(self, timeout: float = 10.0) -> bool:
        """Stop and wait for the clients to be gone; False when some were not in time."""
        self.stop()
        deadline = time.monotonic() + timeout
        threads = [thread for run in self._runs for thread in run.threads]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def set_rate(self, rate_per_s: float) -> None:
        """Records a second from now on.

        :raises ValueError: when it is not from 0 to 50,000.
        """
        self._rate_per_s = _checked_rate(rate_per_s)

    def set_acks(self, acks: str) -> None:
        """How many replicas a write waits for from now on: ``0``, ``1`` or ``all``.

        :raises ValueError: when it is none of these.
        """
        self._acks = _checked_acks(acks)

    def status(self) -> WorkloadStatus:
        """The counters now."""
        runs = list(self._runs)
        return WorkloadStatus(
            running=self.is_running,
            rate_per_s=self._rate_per_s,
            acks=self._acks,
            sent=sum(run.sent for run in runs),
            acknowledged=sum(run.acknowledged for run in runs),
            failed=sum(run.failed for run in runs),
            consumed=sum(sum(run.consumed) for run in runs),
            last_error=runs[-1].last_error if runs else "",
        )

    # --- the producer's thread ---------------------------------------------------------------------

    def _produce(self, run: _Run) -> None:
        if not self._make_topic(run):
            return
        acks = self._acks
        producer = self._new_producer(run, acks)
        pace = Pace(self._rate_per_s, time.monotonic())
        number = 0
        while not run.stopping.is_set():
            if self._acks != acks or self._has_failed(run, producer):
                self._let_go(producer)
                acks = self._acks
                producer = self._new_producer(run, acks)
            now_s = time.monotonic()
            pace.set_rate(self._rate_per_s, now_s)
            for _ in range(pace.take(now_s)):
                number += 1
                if not self._send(run, producer, number):
                    break
            run.stopping.wait(pace.next_in_s(TICK_MIN_S, TICK_MAX_S))
        self._let_go(producer)

    def _has_failed(self, run: _Run, producer: Producer) -> bool:
        """Hear what came of records. True when the producer cannot go on: an idempotent one does not after records that
        it had acknowledged were lost in an unclean election.
        """
        try:
            producer.poll(0)
        except KafkaException as e:
            run.last_error = str(e.args[0])
            return bool(e.args[0].fatal())
        return False

    def _make_topic(self, run: _Run) -> bool:
        """Have the topic before the consumers look for it; False when the traffic was stopped before that."""
        with AdminClient({**self._client_settings(run), "client.id": PRODUCER_CLIENT_ID}, logger=_librdkafka_log) as admin:
            while not run.stopping.is_set():
                topic = NewTopic(self._topic, num_partitions=self._partitions, replication_factor=-1)
                future = admin.create_topics([topic], request_timeout=ADMIN_TIMEOUT_S)[self._topic]
                try:
                    future.result(ADMIN_TIMEOUT_S + 1.0)
                except KafkaException as e:
                    error = e.args[0]
                    if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                        return True
                    run.last_error = str(error)
                except TimeoutError:
                    run.last_error = "creating the topic was not answered"
                else:
                    return True
                run.stopping.wait(RETRY_WAIT_S)
            return False

    def _new_producer(self, run: _Run, acks: str) -> Producer:
        settings = {
            **self._client_settings(run),
            "client.id": PRODUCER_CLIENT_ID,
            "acks": acks,
            "enable.idempotence": acks == "all",
            "linger.ms": 5,
        }
        return Producer(settings, logger=_librdkafka_log)

    def _send(self, run: _Run, producer: Producer, number: int) -> bool:
        customer = f"customer-{number * 31 % CUSTOMERS:02d}"
        value = json.dumps({"order": number, "customer": customer, "cents": 100 + number * 7919 % 90_000, "note": PADDING})

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                run.acknowledged += 1
            else:
                run.failed += 1
                run.last_error = str(error)

        try:
            producer.produce(self._topic, key=customer, value=value, on_delivery=delivered)
        except BufferError:
            # The library holds all that it may: the pace goes on once some of it got through.
            return False
        except KafkaException as e:
            run.failed += 1
            run.last_error = str(e.args[0])
            return False
        run.sent += 1
        return True

    def _let_go(self, producer: Producer) -> None:
        with suppress(KafkaException):  # one that has failed says so once more
            if producer.flush(FLUSH_TIMEOUT_S):
                producer.purge()
                producer.flush(FLUSH_TIMEOUT_S)
        # Its connections end now, not when the garbage collector comes by.
        producer.close()

    # --- the members' threads ------------------------------------------------------------------------

    def _consume(self, run: _Run, index: int) -> None:
        settings = {
            **self._client_settings(run),
            "client.id": f"{self._group_id}-{index + 1}",
            "group.id": self._group_id,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1_000,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_INTERVAL_MS,
            "topic.metadata.refresh.interval.ms": 10_000,
            # The topic may come a moment after its consumers.
            "allow.auto.create.topics": False,
        }
        consumer = Consumer(settings, logger=_librdkafka_log)
        try:
            consumer.subscribe([self._topic])
            while not run.stopping.is_set():
                for message in consumer.consume(RECORDS_PER_POLL_MAX, POLL_TIMEOUT_S):
                    error = message.error()
                    if error is None:
                        run.consumed[index] += 1
                    elif error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        run.last_error = str(error)
        except KafkaException as e:
            run.last_error = str(e.args[0])
            _log.warning("member %s of group %s ended: %s", index + 1, self._group_id, e)
        finally:
            consumer.close()

    def _client_settings(self, run: _Run) -> dict[str, Any]:
        def failed(error: KafkaError) -> None:
            run.last_error = str(error)

        return {
            "bootstrap.servers": self._bootstrap_servers,
            "error_cb": failed,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
        }


def _checked_rate(rate_per_s: float) -> float:
    if not 0 <= rate_per_s <= RATE_MAX_PER_S:
        raise ValueError(f"the rate was {rate_per_s}; it can be 0 to {RATE_MAX_PER_S:g} records a second")
    return float(rate_per_s)


def _checked_acks(acks: str) -> str:
    if acks not in ACKS:
        raise ValueError(f"acks was {acks!r}; it can be {', '.join(ACKS)}")
    return acks
