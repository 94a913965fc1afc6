"""Reading with a client whose broker may hear of a topic a moment after others did."""

from __future__ import annotations

import time
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError

from tests.support.waiting import WAIT_S

_NOT_YET: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE)


def take(consumer: Consumer, count: int) -> list[Any]:
    """The next ``count`` messages. That a topic is not known yet is told like a message, and the client looks again by itself."""
    messages: list[Any] = []
    deadline = time.monotonic() + WAIT_S
    while len(messages) < count:
        assert time.monotonic() < deadline, f"only {len(messages)} of {count} messages came"
        # Asked for more than there is, it would wait out its time.
        for message in consumer.consume(count - len(messages), timeout=1.0):
            error = message.error()
            if error is None:
                messages.append(message)
            else:
                assert error.code() in _NOT_YET, error
    return messages
