"""What the asker may do, as each API tells it where nothing is forbidden. The numbers are Apache Kafka 4.3.1's."""

from __future__ import annotations

import uuid
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from kafkalab.engine.broker.apis import describe_cluster, describe_topic_partitions, metadata
from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey

NOT_ASKED, TOPIC, CLUSTER = -2147483648, 3576, 8096
SERVICES: Any = SimpleNamespace(
    node_id=1, cluster_id="c", config=BrokerConfig({"auto.create.topics.enable": "false"}), image=MetadataImage(), rng=Random(1)
)


def ask(handler: Any, key: ApiKey, version: int, body: dict[str, Any]) -> Any:
    context = SimpleNamespace(version=version, connection=SimpleNamespace(listener_name="PLAINTEXT"))
    request = codec.decode_request(key, version, codec.encode_request_body(key, version, body))
    answer = handler.handle(SERVICES, context, request)
    return codec.decode_response(key, version, codec.encode_response_body(key, version, answer))


@pytest.mark.parametrize("version", [8, 9, 10, 11, 12, 13])
@pytest.mark.parametrize("asked", [False, True])
def test_metadata_tells_them_when_asked_also_of_topics_that_are_missing(version: int, asked: bool) -> None:
    body = {
        "topics": [{"name": "missing"}, {"name": "bad name"}],
        "include_cluster_authorized_operations": asked,
        "include_topic_authorized_operations": asked,
    }
    response = ask(metadata, ApiKey.METADATA, version, body)
    assert [topic.topic_authorized_operations for topic in response.topics] == [TOPIC if asked else NOT_ASKED] * 2
    if version <= 10:
        assert response.cluster_authorized_operations == (CLUSTER if asked else NOT_ASKED)


def test_metadata_tells_none_of_an_unknown_topic_id() -> None:
    body = {"topics": [{"name": None, "topic_id": uuid.uuid4()}], "include_topic_authorized_operations": True}
    (topic,) = ask(metadata, ApiKey.METADATA, 12, body).topics
    assert topic.topic_authorized_operations == NOT_ASKED


@pytest.mark.parametrize("asked", [False, True])
def test_describe_cluster_tells_them_when_asked(asked: bool) -> None:
    response = ask(describe_cluster, ApiKey.DESCRIBE_CLUSTER, 2, {"include_cluster_authorized_operations": asked, "endpoint_type": 1})
    assert response.cluster_authorized_operations == (CLUSTER if asked else NOT_ASKED)


def test_describe_topic_partitions_always_tells_them() -> None:
    body = {"topics": [{"name": "missing"}], "response_partition_limit": 10, "cursor": None}
    (topic,) = ask(describe_topic_partitions, ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, body).topics
    assert topic.topic_authorized_operations == TOPIC
