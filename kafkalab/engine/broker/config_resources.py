"""What settings belong to, as requests name it."""

from __future__ import annotations

from enum import IntEnum

from kafkalab.engine.common.errors import ApiError, Errors


class ConfigResourceType(IntEnum):
    """The number is what goes over the wire."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


def broker_id_of(name: str, what: str) -> int:
    """The broker id that a resource's name is.

    :raises ApiError: INVALID_REQUEST when it is no number.
    """
    digits = name[1:] if name[:1] in ("+", "-") else name
    # Bounded before the conversion: the name may be a million digits.
    if len(digits) <= 10 and digits.isascii() and digits.isdigit() and -(2**31) <= int(name) < 2**31:
        return int(name)
    raise ApiError(Errors.INVALID_REQUEST, f"{what} must be an integer, but it is: {name}")
