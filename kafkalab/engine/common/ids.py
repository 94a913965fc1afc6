"""Names of things: partitions and Kafka's 128-bit ids."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from random import Random

ZERO_UUID: Final = uuid.UUID(int=0)
METADATA_TOPIC_ID: Final = uuid.UUID(int=1)
"""The topic id of ``__cluster_metadata``."""
METADATA_TOPIC: Final = "__cluster_metadata"
OFFSETS_TOPIC: Final = "__consumer_offsets"
TRANSACTIONS_TOPIC: Final = "__transaction_state"
SHARE_GROUP_STATE_TOPIC: Final = "__share_group_state"
INTERNAL_TOPICS: Final = frozenset({OFFSETS_TOPIC, TRANSACTIONS_TOPIC, SHARE_GROUP_STATE_TOPIC})

_RESERVED_UUID_COUNT: Final = 100


class TopicPartition(NamedTuple):
    """A partition by its topic's name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


METADATA_PARTITION: Final = TopicPartition(METADATA_TOPIC, 0)


def uuid_to_text(value: uuid.UUID) -> str:
    """Kafka's text form: URL-safe base64 of the 16 bytes, without padding (22 characters)."""
    return base64.urlsafe_b64encode(value.bytes).rstrip(b"=").decode()


def uuid_from_text(text: str) -> uuid.UUID:
    """The inverse of :func:`uuid_to_text`.

    :raises ValueError: when the text is no such form.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if len(raw) != 16:
        raise ValueError(f"{text!r} has {len(raw)} bytes, an id has 16")
    return uuid.UUID(bytes=raw)


def random_uuid(rng: Random) -> uuid.UUID:
    """A random id that is neither reserved nor starts with ``-`` in its text form."""
    while True:
        value = uuid.UUID(int=rng.getrandbits(128), version=4)
        if value.int >= _RESERVED_UUID_COUNT and not uuid_to_text(value).startswith("-"):
            return value
