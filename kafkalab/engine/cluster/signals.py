"""Signals to this process, heard by a thread of their own."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

END_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))
"""What asks a process to end, on this system."""

_CLOSED: Final = b""


@contextmanager
def heard_signals(numbers: Iterable[int], heard: Callable[[int], None]) -> Iterator[None]:
    """Have ``heard`` called with the number of each of these signals, until the end. For the main thread only.

    Python's own handlers run in the main thread, when it comes by: one that arrives just before that thread goes to
    sleep on a lock or queue is not seen until something else wakes it. The number is therefore taken from the file
    that the interpreter writes it to (:func:`signal.set_wakeup_fd`), which no sleep delays.
    """
    wanted = frozenset(numbers)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def listen() -> None:
        while (received := ours.recv(64)) != _CLOSED:
            for number in received:
                if number in wanted:
                    heard(number)

    listener = threading.Thread(target=listen, name="kafkalab-signals", daemon=True)
    listener.start()
    old_file = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    # Without a handler the system would end the process; the number has gone to the file by then.
    old_handlers = {number: signal.signal(number, lambda _number, _frame: None) for number in wanted}
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_file)
        theirs.close()
        listener.join()
        ours.close()
