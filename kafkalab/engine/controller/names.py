"""Which names a topic may have."""

from __future__ import annotations

import re
from typing import Final

from kafkalab.engine.common.errors import ApiError, Errors

TOPIC_NAME_LENGTH_MAX: Final = 249
_VALID: Final = re.compile(r"[a-zA-Z0-9._-]+")


def validate_topic_name(name: str) -> None:
    """Refuse what is no topic name, in Kafka's words.

    :raises ApiError: INVALID_TOPIC_EXCEPTION.
    """
    if name == "":
        reason = "the empty string is not allowed"
    elif name in (".", ".."):
        reason = f"'{name}' is not allowed"
    elif len(name) > TOPIC_NAME_LENGTH_MAX:
        reason = f"the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LENGTH_MAX}"
    elif _VALID.fullmatch(name) is None:
        reason = f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    else:
        return
    raise ApiError(Errors.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {reason}")


def collision_key(name: str) -> str | None:
    """What two topics must not share: metric names write ``.`` and ``_`` alike. None without either."""
    key = name.replace(".", "_")
    return key if "_" in key else None
