"""Pace turns time into records."""

from __future__ import annotations

import pytest

from kafkalab.workload.pacing import Pace


def test_records_come_as_time_passes() -> None:
    pace = Pace(200, 0.0)
    assert [pace.take(t / 100) for t in range(1, 6)] == [2, 2, 2, 2, 2]


def test_fractions_add_up() -> None:
    pace = Pace(1.5, 0.0)
    assert sum(pace.take(t / 10) for t in range(1, 101)) == 15


def test_a_long_pause_is_not_made_up_for() -> None:
    pace = Pace(1000, 0.0)
    assert pace.take(60.0) == 250


def test_a_new_rate_holds_from_its_moment() -> None:
    pace = Pace(100, 0.0)
    pace.set_rate(10, 0.1)
    assert pace.take(0.2) == 11


def test_a_rate_of_zero_sends_nothing_and_waits_as_long_as_it_may() -> None:
    pace = Pace(0, 0.0)
    assert pace.take(100.0) == 0
    assert pace.next_in_s(0.005, 0.1) == 0.1


def test_the_wait_is_until_the_next_record() -> None:
    pace = Pace(20, 0.0)
    assert pace.next_in_s(0.005, 0.1) == pytest.approx(0.05)
    assert Pace(50_000, 0.0).next_in_s(0.005, 0.1) == 0.005
