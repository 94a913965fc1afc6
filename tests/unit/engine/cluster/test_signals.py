"""Signals are heard whichever thread they reach, and while the main thread sleeps."""

from __future__ import annotations

import queue
import signal
import threading

import pytest

from kafkalab.engine.cluster.signals import heard_signals

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signals to threads")

WAIT_S = 10.0


def test_a_signal_that_does_not_wake_the_main_thread_is_heard() -> None:
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()
    with heard_signals([signal.SIGUSR1], heard.put):
        # What reaches another thread leaves the main thread asleep, as does what comes just before it falls asleep.
        sender = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
        sender.start()
        assert heard.get(timeout=WAIT_S) == signal.SIGUSR1
        sender.join()


def test_every_one_is_heard_in_order_and_others_are_not() -> None:
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = signal.signal(signal.SIGUSR2, lambda _number, _frame: None)
    try:
        with heard_signals([signal.SIGUSR1, signal.SIGHUP], heard.put):
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1):
                signal.raise_signal(number)
            assert [heard.get(timeout=WAIT_S) for _ in range(3)] == [signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_what_was_there_before_is_there_again() -> None:
    handler = signal.getsignal(signal.SIGUSR1)
    file = signal.set_wakeup_fd(-1)
    with heard_signals([signal.SIGUSR1], lambda _number: None):
        assert signal.getsignal(signal.SIGUSR1) is not handler
    assert signal.getsignal(signal.SIGUSR1) is handler
    assert signal.set_wakeup_fd(file) == -1
