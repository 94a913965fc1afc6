"""What all processes below this one have in common: how they are started, and the frames that come back from them.

Commands go down on standard input, a line each; what comes up on standard output are pickled frames with their length
in front: a kind and its value. The log goes to the standard error of whoever started the first of them. A parent that
is gone closes the input, which each child takes as the order to end.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

import kafkalab
from kafkalab.engine.telemetry.hub import Reader

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
EVENTS_PER_FRAME_MAX: Final = 1_000
STATUS_INTERVAL_S: Final = 0.5
_SIZE: Final = struct.Struct(">I")
_NEW_PROCESS_GROUP: Final = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


def spawn(module: str) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` with a pipe down and one up."""
    # The child finds this package wherever it was imported from.
    root = str(Path(kafkalab.__file__).parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        # Ctrl+C in a terminal is for the parent, which stops its children in order.
        start_new_session=sys.platform != "win32",
        creationflags=_NEW_PROCESS_GROUP,
    )


def take_standard_output() -> IO[bytes]:
    """In the child: the stream for frames. What anybody prints goes to standard error, not between them."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def read_frame(stream: IO[bytes]) -> tuple[str, Any] | None:
    """The next frame from our own child; None at its end, also where the process was killed amid a frame."""
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack(head)
    body = stream.read(size)
    if len(body) < size:
        return None
    kind, value = pickle.loads(body)
    return kind, value


def read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """What pickle makes a read-only mapping of: the type itself has no name that it could write down."""
    return MappingProxyType(values)


class Uplink:
    """The child's end of the pipe: telemetry by itself, other frames when told to.

    :param interval_s: news come in bursts; a frame for each would cost both ends more than it tells.
    :param status: something to look at now and then, and to send when it changed; None while there is nothing.
    """

    def __init__(self, stream: IO[bytes], reader: Reader, *, interval_s: float, status: Callable[[], Any] | None = None) -> None:
        self._stream = stream
        self._reader = reader
        self._interval_s = interval_s
        self._status = status
        self._last_status: Any = None
        # Held from the look at the hub to the end of the writing: frames leave in the order of what is in them.
        self._lock = threading.RLock()
        self._dropped = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafkalab-uplink", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Send what is left."""
        self._ending.set()
        self._reader.wake()
        self._thread.join()
        self.send_news()

    def send(self, kind: str, value: Any) -> None:
        """Send a frame now."""
        body = pickle.dumps((kind, value), protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock, suppress(OSError):  # The parent is gone; the closed input ends this process.
            self._stream.write(_SIZE.pack(len(body)) + body)
            self._stream.flush()

    def send_news(self) -> None:
        """Send all telemetry up to now."""
        with self._lock:
            while True:
                events, levels, dropped = self._reader.drain(EVENTS_PER_FRAME_MAX)
                if events or levels:
                    self.send("telemetry", (events, levels, dropped - self._dropped))
                    self._dropped = dropped
                if not events:
                    return

    def send_status(self) -> None:
        """Send the status, if it is another than the last time."""
        status = self._status() if self._status is not None else None
        with self._lock:
            if status is not None and status != self._last_status:
                self._last_status = status
                self.send("status", status)

    def _run(self) -> None:
        while not self._ending.is_set():
            if self._reader.wait_changed(STATUS_INTERVAL_S):
                self.send_news()
                self._ending.wait(self._interval_s)
            self.send_status()
