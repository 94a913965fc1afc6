"""DescribeCluster on a controller's listener: controllers as they registered (KIP-919)."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kafkalab.engine.broker.apis import describe_cluster
from kafkalab.engine.broker.services import ControllerServices
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.metadata.image import ControllerRegistration, MetadataImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey


def ask(image: MetadataImage, *, endpoint_type: int = 2, leader_id: int = 101) -> Any:
    none = cast(Any, None)
    services = ControllerServices(
        node_id=101,
        cluster_id="c",
        config=none,
        clock=none,
        sink=none,
        image=image,
        controller=none,
        raft=cast(Any, SimpleNamespace(leader_id=leader_id)),
    )
    ctx = cast(Any, SimpleNamespace(connection=SimpleNamespace(listener_name="CONTROLLER"), version=2))
    key = ApiKey.DESCRIBE_CLUSTER
    request = codec.decode_request(key, 2, codec.encode_request_body(key, 2, {"endpoint_type": endpoint_type}), 0)
    response = describe_cluster.handle(services, ctx, request)
    return codec.decode_response(key, 2, codec.encode_response_body(key, 2, response), 0)


def test_controllers_are_listed_by_the_listener_that_was_asked() -> None:
    image = MetadataImage()
    for node_id, listener in ((102, "CONTROLLER"), (101, "CONTROLLER"), (103, "OTHER")):
        image.controllers[node_id] = ControllerRegistration(
            controller_id=node_id, incarnation_id=uuid.UUID(int=node_id), listeners={listener: ("127.0.0.1", 9000 + node_id)}
        )
    answer = ask(image)
    assert (answer.error_code, answer.endpoint_type, answer.controller_id) == (0, 2, 101)
    assert [(node.broker_id, node.port) for node in answer.brokers] == [(101, 9101), (102, 9102)]


@pytest.mark.parametrize(("kind", "error"), [(1, Errors.MISMATCHED_ENDPOINT_TYPE), (7, Errors.UNSUPPORTED_ENDPOINT_TYPE)])
def test_brokers_are_not_described_by_controllers(kind: int, error: Errors) -> None:
    answer = ask(MetadataImage(), endpoint_type=kind)
    assert (answer.error_code, answer.endpoint_type) == (error, 1)
