"""The traffic's manners: it does not make its caller wait, also where nobody answers."""

from __future__ import annotations

import time

import pytest

from kafkalab.workload.traffic import Workload

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
    assert time.monotonic() - started_at < 1.0
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
