"""Waiting for what happens elsewhere: in other threads, other processes, other people's nodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from confluent_kafka import KafkaException

WAIT_S: Final = 60.0
LOOK_S: Final = 0.02

Answer = TypeVar("Answer")


def wait_for(ask: Callable[[], Answer | None], what: str, timeout: float = WAIT_S) -> Answer:
    """Ask until there is an answer other than None and False; who has no answer yet, or hangs up, is asked again."""
    deadline = time.monotonic() + timeout
    problem: object = ""
    while True:
        try:
            answer = ask()
        except (KafkaException, OSError) as error:
            answer, problem = None, error
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what} {problem}"
        time.sleep(LOOK_S)
