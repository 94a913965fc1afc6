"""What a broken link makes of the pieces that are sent over it."""

from __future__ import annotations

from random import Random

import pytest

from kafkalab.engine.faults.network import CLIENTS, GIVEN_UP, LinkFault, LinkFaults, LinkQueue, giving_up_ms


class Script:
    """Chance that comes out as written."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.numbers.pop(0)


def queue_with(fault: LinkFault | None, *chances: float) -> LinkQueue:
    queue = LinkQueue(Script(*chances))
    queue.set_fault(fault, 0.0)
    return queue


def arrivals(queue: LinkQueue) -> list[tuple[float, object]]:
    """When each item arrives, looked at exactly then."""
    got = []
    while (at_ms := queue.next_ms()) is not None:
        assert queue.take(at_ms - 0.001) is None
        got.append((at_ms, queue.take(at_ms)))
    return got


def test_a_link_with_which_nothing_is_wrong_passes_all_on_at_once() -> None:
    queue = queue_with(None)
    queue.put("a", 1, 5.0)
    queue.put("b", 1, 6.0)
    assert arrivals(queue) == [(5.0, "a"), (6.0, "b")]
    assert queue.held_bytes == 0


def test_a_cut_link_holds_everything_until_it_is_healed() -> None:
    queue = queue_with(LinkFault(1, 2, is_cut=True))
    queue.put("a", 10, 5.0)
    queue.put("b", 5, 6.0)
    assert queue.next_ms() is None and queue.take(1e9) is None
    assert (len(queue), queue.held_bytes) == (2, 15)
    queue.set_fault(None, 100.0)
    assert arrivals(queue) == [(100.0, "a"), (100.0, "b")]


def test_jitter_does_not_reorder() -> None:
    queue = queue_with(LinkFault(1, 2, delay_ms=100, jitter_ms=50), 1.0, 0.0, 0.5)
    for name in "abc":
        queue.put(name, 1, 0.0)
    assert arrivals(queue) == [(150.0, "a"), (150.0, "b"), (150.0, "c")]


def test_jitter_beyond_the_delay_is_no_journey_in_time() -> None:
    queue = queue_with(LinkFault(1, 2, delay_ms=10, jitter_ms=50), 0.0)
    queue.put("a", 1, 7.0)
    assert arrivals(queue) == [(7.0, "a")]


def test_a_slow_link_takes_its_time_and_then_the_delay() -> None:
    queue = queue_with(LinkFault(1, 2, delay_ms=5, bytes_per_second=1_000))
    queue.put("a", 100, 0.0)
    queue.put("b", 100, 0.0)
    queue.put("c", 100, 1_000.0)
    assert arrivals(queue) == [(105.0, "a"), (205.0, "b"), (1_105.0, "c")]


def test_a_slow_link_passes_on_a_little_at_a_time() -> None:
    pieces = queue_with(LinkFault(1, 2, bytes_per_second=10_000)).pieces(bytes(1_200))
    assert [len(piece) for piece in pieces] == [500, 500, 200]
    assert [len(piece) for piece in queue_with(None).pieces(bytes(1_200))] == [1_200]
    assert queue_with(LinkFault(1, 2, bytes_per_second=1)).pieces(b"") == [b""]


def test_a_lost_piece_is_sent_again_as_tcp_does_and_the_rest_waits_for_it() -> None:
    queue = queue_with(LinkFault(1, 2, loss=0.5), 0.4, 0.4, 0.6, 0.9)
    queue.put("a", 1, 0.0)
    queue.put("b", 1, 1.0)
    assert arrivals(queue) == [(600.0, "a"), (600.0, "b")]


def test_what_is_always_lost_ends_the_connection_after_a_quarter_of_an_hour() -> None:
    queue = LinkQueue(Random(1))
    queue.set_fault(LinkFault(1, 2, loss=1.0), 0.0)
    queue.put("a", 1, 0.0)
    assert arrivals(queue) == [(giving_up_ms(), GIVEN_UP)]
    assert giving_up_ms() == pytest.approx(924_600)  # tcp(7): tcp_retries2


def test_what_is_on_its_way_goes_by_the_new_fault() -> None:
    queue = queue_with(LinkFault(1, 2, delay_ms=1_000))
    queue.put("a", 10, 0.0)
    queue.set_fault(LinkFault(1, 2, delay_ms=10), 100.0)
    queue.put("b", 10, 105.0)
    assert arrivals(queue) == [(110.0, "a"), (115.0, "b")]


def test_the_same_fault_again_changes_nothing() -> None:
    queue = queue_with(LinkFault(1, 2, delay_ms=1_000))
    queue.put("a", 10, 0.0)
    queue.set_fault(LinkFault(1, 2, delay_ms=1_000), 500.0)
    assert arrivals(queue) == [(1_000.0, "a")]


def test_a_node_knows_of_its_own_links_only() -> None:
    cut = [LinkFault(1, 2, is_cut=True), LinkFault(3, 1, delay_ms=1), LinkFault(2, 3, is_cut=True), LinkFault(CLIENTS, 1, loss=0.1)]
    faults = LinkFaults(1, cut)
    assert faults.active
    assert faults.outgoing(2) is cut[0] and faults.incoming(2) is None
    assert faults.incoming(3) is cut[1] and faults.incoming(CLIENTS) is cut[3]
    assert not LinkFaults(4, cut).active


def test_a_fault_in_which_nothing_is_wrong_is_none() -> None:
    assert not LinkFaults(1, [LinkFault(1, 2)]).active
    # A combined node talks to itself without a network.
    assert not LinkFaults(1, [LinkFault(1, 1, is_cut=True)]).active
