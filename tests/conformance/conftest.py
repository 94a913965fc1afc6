"""A cluster for strangers' clients. Where nodes are killed, sessions are short, so that it is noticed within a test's patience."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from kafkalab import Lab

SESSION_TIMEOUT_MS = 2_000
FAST_FAILOVER = {
    "broker.session.timeout.ms": str(SESSION_TIMEOUT_MS),
    "broker.heartbeat.interval.ms": "250",
    "replica.lag.time.max.ms": "3000",
}
PATIENT_SESSION_MS = 6_000
PATIENT_FAILOVER = {**FAST_FAILOVER, "broker.session.timeout.ms": str(PATIENT_SESSION_MS)}
"""Where those who live must not be fenced: on a busy machine a whole process may have no turn for two seconds."""
_numbers = itertools.count()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three brokers and three controllers, shared by the tests of one file. Nobody dies here, and nobody is to be thought dead."""
    with Lab() as running:
        yield running


@pytest.fixture
def topic() -> str:
    """A name that no other test uses."""
    return f"topic-{next(_numbers)}"
