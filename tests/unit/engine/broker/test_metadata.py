"""Who asks for topics in a way that their version does not know yet."""

from __future__ import annotations

import uuid
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.apis import metadata
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey

TOPIC_ID = uuid.UUID(int=9)
SERVICES: Any = SimpleNamespace(
    node_id=1, cluster_id="c", config=BrokerConfig({"auto.create.topics.enable": "false"}), image=MetadataImage(), rng=Random(1)
)


def ask(version: int, *topics: dict[str, Any]) -> Any:
    context: Any = SimpleNamespace(version=version, connection=SimpleNamespace(listener_name="PLAINTEXT"))
    request = codec.decode_request(ApiKey.METADATA, version, codec.encode_request_body(ApiKey.METADATA, version, {"topics": topics}))
    try:
        answer = metadata.handle(SERVICES, context, request)
    except ApiError as e:
        answer = metadata.error_response(request, e.error, e.message, version)
    return codec.decode_response(ApiKey.METADATA, version, codec.encode_response_body(ApiKey.METADATA, version, answer))


@pytest.mark.parametrize("version", [10, 11])
def test_ids_and_names_that_are_none_are_refused_where_they_must_not_be_used_yet(version: int) -> None:
    known = {"name": "orders", "topic_id": None}
    for wrong in ({"name": None, "topic_id": TOPIC_ID}, {"name": "orders", "topic_id": TOPIC_ID}, {"name": None, "topic_id": None}):
        told = [(topic.error_code, topic.name, topic.topic_id) for topic in ask(version, known, wrong).topics]
        assert told == [(Errors.INVALID_REQUEST, one["name"] or "", one["topic_id"]) for one in (known, wrong)]


@pytest.mark.parametrize("version", [12, 13])
def test_later_versions_may_ask_by_id(version: int) -> None:
    (topic,) = ask(version, {"name": None, "topic_id": TOPIC_ID}).topics
    assert (topic.error_code, topic.name, topic.topic_id) == (Errors.UNKNOWN_TOPIC_ID, None, TOPIC_ID)
