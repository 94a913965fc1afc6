"""Levels that this program cannot work at stop the node that needs them."""

from __future__ import annotations

import pytest

from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol.metadata_records import FeatureLevelRecord
from kafkalab.engine.server.feature_guard import FeatureGuard


@pytest.mark.parametrize(
    ("name", "level", "is_controller", "why"),
    [
        ("metadata.version", 30, False, None),
        ("metadata.version", 31, False, "the cluster is at metadata.version 31, and this program works at 7 to 30"),
        ("group.version", 1, True, None),
        ("group.version", 2, True, "the cluster is at group.version 2, and this program works at 0 to 1"),
        ("group.version", 2, False, None),
        ("from.the.future", 1, False, None),
        ("from.the.future", 1, True, "the cluster is at from.the.future 1, and this program works at 0 to 0"),
    ],
)
def test_what_a_node_cannot_work_at_stops_it(name: str, level: int, is_controller: bool, why: str | None) -> None:
    image, delta, failures = MetadataImage(), MetadataDelta(), list[str]()
    image.replay(FeatureLevelRecord(name=name, feature_level=level), delta, offset=0)
    FeatureGuard(failures.append, is_controller=is_controller).publish(delta, image)
    assert failures == ([] if why is None else [why])
