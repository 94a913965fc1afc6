"""The simulated network: what TCP promises, and what it does not."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from kafkalab.engine.simulation.loop import SimLoop
from kafkalab.engine.simulation.network import RESENT_WITHIN_MS, SimNetwork
from kafkalab.engine.simulation.scheduler import Scheduler


class End(asyncio.Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.data = b""
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Machines:
    """Two machines, one of which listens."""

    def __init__(self, seed: int = 1) -> None:
        self.scheduler = Scheduler(Random(seed))
        self.network = SimNetwork(self.scheduler, Random(seed))
        self.errors: list[dict[str, Any]] = []
        self.network.add_host("10.0.0.1", 1)
        self.network.add_host("10.0.0.2", 2)
        self.one = self.loop(1)
        self.two = self.loop(2)
        self.accepted: list[End] = []
        self.two.run(self._listen)
        self.run(1.0)

    def loop(self, party: int) -> SimLoop:
        return SimLoop(self.scheduler, self.network, party, f"10.0.0.{party}", self.errors.append)

    def _listen(self) -> None:
        def accept() -> End:
            self.accepted.append(End())
            return self.accepted[-1]

        self.two.create_task(self.two.create_server(accept, "10.0.0.2", 9092))

    def connect(self, timeout_s: float = 5.0) -> tuple[End, list[BaseException]]:
        end, errors = End(), []

        async def connect() -> None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self.one.create_connection(lambda: end, "10.0.0.2", 9092)
            except OSError as e:
                errors.append(e)

        self.one.run(lambda: self.one.create_task(connect()))
        return end, errors

    def run(self, for_ms: float) -> None:
        until_ms = self.scheduler.now_ms + for_ms
        while self.scheduler.step(until_ms):
            pass
        assert not self.errors


def connected(machines: Machines) -> tuple[End, End]:
    end, errors = machines.connect()
    machines.run(100.0)
    assert end.transport is not None and not errors
    return end, machines.accepted[-1]


@pytest.mark.parametrize("seed", range(5))
def test_bytes_arrive_whole_and_in_order(seed: int) -> None:
    machines = Machines(seed)
    here, there = connected(machines)
    for number in range(500):
        here.transport.write(b"%d," % number)
    machines.run(200.0)
    assert there.data == b"".join(b"%d," % number for number in range(500))


def test_nobody_listens() -> None:
    machines = Machines()
    machines.two.kill()
    machines.network.drop(machines.two)
    _, errors = machines.connect()
    machines.run(100.0)
    assert isinstance(errors[0], ConnectionRefusedError)


def test_a_close_comes_after_what_was_sent_and_a_kill_resets() -> None:
    machines = Machines()
    here, there = connected(machines)
    here.transport.write(b"last words")
    here.transport.close()
    machines.run(100.0)
    assert there.data == b"last words"
    assert here.lost == [None] and there.lost == [None]
    here, there = connected(machines)
    machines.one.kill()
    machines.network.drop(machines.one)
    machines.run(100.0)
    assert isinstance(there.lost[0], ConnectionResetError)


def test_a_cut_holds_everything_back_and_heals() -> None:
    machines = Machines()
    here, there = connected(machines)
    machines.network.impair(1, 2, is_cut=True)
    here.transport.write(b"abc")
    there.transport.write(b"from there")
    machines.run(10_000.0)
    assert there.data == b"" and here.data == b"from there", "the cut is one way"
    machines.network.heal()
    machines.run(RESENT_WITHIN_MS + 100.0)
    assert there.data == b"abc"


def test_nothing_comes_about_across_a_cut_and_a_reset_does_not_either() -> None:
    machines = Machines()
    here, there = connected(machines)
    machines.network.impair(2, 1, is_cut=True)
    _, errors = machines.connect(timeout_s=5.0)
    here.transport.abort()
    machines.run(6_000.0)
    assert isinstance(errors[0], TimeoutError)
    assert isinstance(there.lost[0], ConnectionResetError), "the other way is whole"
    here, there = _after_healing(machines)
    machines.network.impair(1, 2, is_cut=True)
    here.transport.abort()
    machines.run(60_000.0)
    assert not there.lost, "nobody told it"
    machines.network.heal()
    there.transport.write(b"are you there?")
    machines.run(100.0)
    assert isinstance(there.lost[0], ConnectionResetError), "who sends to an end that is gone hears of it"


def _after_healing(machines: Machines) -> tuple[End, End]:
    machines.network.heal()
    return connected(machines)


def test_a_machine_without_power_says_nothing_until_it_is_back() -> None:
    machines = Machines()
    here, there = connected(machines)
    machines.network.power_off(2)
    machines.two.kill()
    machines.network.drop(machines.two)
    here.transport.write(b"hello")
    machines.run(60_000.0)
    assert not here.lost
    machines.network.power_on(2)
    machines.run(RESENT_WITHIN_MS + 100.0)
    assert isinstance(here.lost[0], ConnectionResetError), "it knows of no connection"
    assert there.data == b""


def test_a_paused_loop_does_all_that_fell_due_when_it_goes_on() -> None:
    machines = Machines()
    here, there = connected(machines)
    done: list[str] = []
    first = machines.two.call_later(0.01, done.append, "timer")
    cancelled = machines.two.call_later(0.02, done.append, "never")
    machines.two.call_later(0.015, cancelled.cancel)
    machines.two.pause()
    here.transport.write(b"while you slept")
    machines.run(1_000.0)
    assert there.data == b"" and done == [] and not first.cancelled()
    machines.two.resume()
    assert there.data == b"while you slept"
    assert done == ["timer"], "what was cancelled by what fell due before it does not happen"


def test_links_can_be_late_slow_and_lossy() -> None:
    machines = Machines()
    here, there = connected(machines)
    machines.network.impair(1, 2, delay_ms=500.0)
    here.transport.write(b"x")
    machines.run(499.0)
    assert there.data == b""
    machines.run(50.0)
    assert there.data == b"x"
    machines.network.impair(1, 2, delay_ms=0.0, bytes_per_second=1_000.0)
    here.transport.write(bytes(1_000))
    here.transport.write(b"end")
    machines.run(990.0)
    assert not there.data.endswith(b"end")
    machines.run(100.0)
    assert there.data.endswith(b"end")
    machines.network.impair(1, 2, bytes_per_second=0.0, loss=0.2)
    for number in range(50):
        here.transport.write(b"%02d" % number)
    machines.run(120_000.0)
    assert there.data.endswith(b"".join(b"%02d" % number for number in range(50))), "TCP sends again"


def test_what_a_dead_loop_was_to_do_never_happens() -> None:
    machines = Machines()
    done: list[str] = []
    cancelled: list[bool] = []

    async def wait() -> None:
        try:
            await machines.one.create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    machines.one.run(lambda: machines.one.create_task(wait()))
    machines.one.call_later(0.1, done.append, "x")
    machines.one.call_soon(done.append, "y")
    machines.one.kill()
    machines.run(1_000.0)
    assert done == [] and cancelled == [True]


def test_a_late_answer_to_a_connection_that_nobody_wants_any_more_is_reset() -> None:
    machines = Machines()
    machines.network.impair(2, 1, delay_ms=300.0)
    _, errors = machines.connect(timeout_s=0.1)
    machines.run(1_000.0)
    assert isinstance(errors[0], TimeoutError)
    machines.network.heal()
    machines.run(100.0)
    assert isinstance(machines.accepted[0].lost[0], ConnectionResetError)
    assert machines.network.open_ends == 0
