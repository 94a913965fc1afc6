"""The loader: order, transactions, publishers."""

from __future__ import annotations

import uuid

import pytest

from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.protocol.metadata_records import (
    AbortTransactionRecord,
    BeginTransactionRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    MetadataRecord,
    TopicRecord,
    encode_record,
)


class Recorder:
    def __init__(self) -> None:
        self.deltas: list[MetadataDelta] = []
        self.offsets: list[int] = []

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        self.deltas.append(delta)
        self.offsets.append(image.offset)


def batch(base_offset: int, *records: MetadataRecord) -> tuple[int, int, list[bytes], bool]:
    return base_offset, 1, [encode_record(record) for record in records], False


def topic(name: str, number: int) -> TopicRecord:
    return TopicRecord(name=name, topic_id=uuid.UUID(int=number))


def test_batches_are_applied_and_published_once() -> None:
    loader = MetadataLoader(MetadataImage())
    recorder = Recorder()
    loader.add_publisher(recorder)
    loader.handle_commit([(0, 1, [b"leader change"], True), batch(1, topic("a", 101), topic("b", 102)), batch(3, topic("c", 103))])
    assert recorder.offsets == [3]
    assert {created.name for created in recorder.deltas[0].created_topics.values()} == {"a", "b", "c"}
    assert loader.image.topics_by_name["b"].created_offset == 2
    with pytest.raises(AssertionError):
        loader.handle_commit([batch(3, topic("d", 104))])


def test_a_transaction_is_applied_at_its_end() -> None:
    loader = MetadataLoader(MetadataImage())
    recorder = Recorder()
    loader.add_publisher(recorder)
    loader.handle_commit([batch(0, topic("before", 100), BeginTransactionRecord(name="Bootstrap records"), topic("a", 101))])
    assert loader.in_transaction and set(loader.image.topics_by_name) == {"before"}
    loader.handle_commit([batch(3, FeatureLevelRecord(name="metadata.version", feature_level=30), EndTransactionRecord())])
    assert set(loader.image.topics_by_name) == {"before", "a"} and loader.image.features == {"metadata.version": 30}
    assert loader.image.topics_by_name["a"].created_offset == 2
    assert loader.image.offset == 4


def test_an_aborted_transaction_leaves_nothing() -> None:
    loader = MetadataLoader(MetadataImage())
    loader.handle_commit([batch(0, BeginTransactionRecord(), topic("a", 101))])
    loader.handle_commit([batch(2, AbortTransactionRecord(reason="the controller moved"), topic("b", 102))])
    assert set(loader.image.topics_by_name) == {"b"}


def test_a_publisher_that_joins_late_gets_everything() -> None:
    loader = MetadataLoader(MetadataImage())
    loader.handle_commit([batch(0, topic("a", 101))])
    recorder = Recorder()
    loader.add_publisher(recorder)
    assert {created.name for created in recorder.deltas[0].created_topics.values()} == {"a"}


def test_leadership_is_passed_on() -> None:
    class Controller:
        def __init__(self) -> None:
            self.calls: list[object] = []

        def became_leader(self, epoch: int) -> None:
            self.calls.append(epoch)

        def resigned(self) -> None:
            self.calls.append("resigned")

    leaders: list[tuple[int, int]] = []
    controller = Controller()
    loader = MetadataLoader(
        MetadataImage(), controller=controller, on_leader_change=lambda leader_id, epoch: leaders.append((leader_id, epoch))
    )
    loader.handle_leader_change(3, 5)
    loader.handle_became_leader(5)
    loader.handle_resigned()
    assert leaders == [(3, 5)] and controller.calls == [5, "resigned"]
