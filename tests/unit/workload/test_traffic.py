"""The traffic's manners: it does not make its caller wait, also where nobody answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafkalab import Lab
from kafkalab.engine.telemetry.hub import Reader
from kafkalab.engine.telemetry.levels import ConnectionLevel
from kafkalab.workload import traffic
from kafkalab.workload.status import WorkloadStatus
from kafkalab.workload.traffic import PRODUCER_CLIENT_ID, Workload

NOWHERE = "127.0.0.1:1"


def test_start_stop_and_changes_return_at_once_without_a_cluster() -> None:
    workload = Workload(NOWHERE)
    started_at = time.monotonic()
    workload.start()
    workload.start()
    workload.set_rate(500)
    workload.set_acks("1")
    assert workload.is_running
    workload.stop()
    # A client that waits for a cluster does so for much longer.
    assert time.monotonic() - started_at < traffic.ADMIN_TIMEOUT_S
    assert not workload.is_running
    assert workload.close(timeout=30)
    status = workload.status()
    assert (status.running, status.rate_per_s, status.acks, status.sent) == (False, 500.0, "1", 0)


def test_rates_and_acks_that_cannot_be_are_refused() -> None:
    workload = Workload(NOWHERE)
    with pytest.raises(ValueError, match="the rate was -1"):
        workload.set_rate(-1)
    with pytest.raises(ValueError, match="acks was '7'; it can be 0, 1, all"):
        workload.set_acks("7")


class _LosingProducer:
    """The first of them hears that acknowledged records are gone; those after it work."""

    made: ClassVar[list[_LosingProducer]] = []
    replaced: ClassVar[threading.Event] = threading.Event()

    def __init__(self, settings: object, logger: object) -> None:
        self.made.append(self)
        if len(self.made) == 2:
            self.replaced.set()
        self.is_closed = False
        self.sent = threading.Event()

    def produce(self, topic: str, **_: object) -> None:
        self.sent.set()

    def _fail(self) -> int:
        if self is self.made[0]:
            raise KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "sequence desynchronization", fatal=True))
        return 0

    def poll(self, timeout: float) -> int:
        return self._fail()

    def flush(self, timeout: float) -> int:
        return self._fail()

    def purge(self) -> None:
        raise AssertionError("nothing is left to purge")

    def close(self) -> None:
        self.is_closed = True


def test_a_producer_that_failed_for_good_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    _LosingProducer.made.clear()
    monkeypatch.setattr(traffic, "Producer", _LosingProducer)
    monkeypatch.setattr(Workload, "_make_topic", lambda self, run: True)
    monkeypatch.setattr(Workload, "_consume", lambda self, run, index: None)
    workload = Workload(NOWHERE, rate_per_s=500)
    workload.start()
    assert _LosingProducer.replaced.wait(30)
    assert _LosingProducer.made[1].sent.wait(30)
    assert _LosingProducer.made[0].is_closed and "OUT_OF_ORDER_SEQUENCE_NUMBER" in workload.status().last_error
    assert workload.close(timeout=30)
    assert _LosingProducer.made[1].is_closed


def until(workload: Workload, reader: Reader, settled: Callable[[WorkloadStatus], bool]) -> None:
    """Traffic moves the cluster's levels: look at the counters whenever it has."""
    while not settled(workload.status()):
        assert reader.wait_changed(30), workload.status()
        reader.drain()


def test_records_flow_through_a_real_cluster_and_to_three_members() -> None:
    with Lab() as lab:
        reader = lab.hub.open_reader()
        workload = Workload(lab.bootstrap_servers, rate_per_s=500)
        workload.start()
        until(workload, reader, lambda status: status.consumed >= 200)
        assert len(lab.describe().topics["orders"].partitions) == 3
        while len(lab.describe().groups["billing"].members) < 3:
            assert reader.wait_changed(30)
            reader.drain()
        for acks in ("1", "0"):
            workload.set_acks(acks)
            reached = workload.status().acknowledged + 100
            until(workload, reader, lambda status, reached=reached: status.acknowledged >= reached)  # type: ignore[misc]
        workload.stop()
        workload.start()
        reached = workload.status().consumed + 100
        until(workload, reader, lambda status: status.consumed >= reached)
        assert workload.close(30)
        status = workload.status()
        assert status.failed == 0 and not status.running
        # Nobody is left connected in its name, though the garbage collector has not come by.
        while any(isinstance(level, ConnectionLevel) and level.client_id == PRODUCER_CLIENT_ID for level in lab.hub.levels().values()):
            assert reader.wait_changed(30), "the producer's connections stay open"
            reader.drain()
