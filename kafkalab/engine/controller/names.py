"""Refusals of topic names."""

from __future__ import annotations

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.topic_names import invalid_topic_name


def validate_topic_name(name: str) -> None:
    """Refuse what is no topic name, in Kafka's words.

    :raises ApiError: INVALID_TOPIC_EXCEPTION.
    """
    reason = invalid_topic_name(name)
    if reason is not None:
        raise ApiError(Errors.INVALID_TOPIC_EXCEPTION, reason)
