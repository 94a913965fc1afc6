"""One directory after another owner: Apache Kafka's snapshots start our node, ours start Apache Kafka, and its tools read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from kafkalab.engine.common.ids import METADATA_PARTITION
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.metadata.image_writer import image_records
from kafkalab.engine.protocol.metadata_records import MetadataRecord, decode_record
from kafkalab.engine.raft.snapshot_records import SnapshotReader
from kafkalab.engine.raft.snapshot_store import SnapshotStore
from kafkalab.engine.server.node import NodeRunner, NodeSpec
from kafkalab.engine.telemetry.hub import TelemetryHub
from tests.support import apache_kafka
from tests.support.apache_kafka import CLUSTER_ID, combined_node, free_port
from tests.support.apache_tools import run_alone
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(apache_kafka.missing() is not None, reason=f"Apache Kafka cannot be run beside: {apache_kafka.missing()}"),
    pytest.mark.timeout(180),
]

NODE_ID = 1
WAIT_S = 30.0
OFTEN = {"metadata.log.max.record.bytes.between.snapshots": "2000"}
SECURED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
}
ACL = AclBinding(ResourceType.TOPIC, "al", ResourcePatternType.PREFIXED, "User:bob", "*", AclOperation.READ, AclPermissionType.ALLOW)


@contextmanager
def our_node(log_dir: Path) -> Iterator[AdminClient]:
    port, controller_port = free_port(), free_port()
    spec = NodeSpec(
        node_id=NODE_ID,
        roles=frozenset({"broker", "controller"}),
        data_dir=log_dir,
        cluster_id=CLUSTER_ID,
        host="127.0.0.1",
        broker_port=port,
        controller_port=controller_port,
        voters={NODE_ID: ("127.0.0.1", controller_port)},
        config={**OFTEN, "offsets.topic.replication.factor": "1"},
    )
    runner = NodeRunner(spec, TelemetryHub())
    runner.start()
    runner.wait_ready(WAIT_S)
    try:
        yield admin_of(f"127.0.0.1:{port}")
    finally:
        runner.stop(WAIT_S)
    assert runner.failure is None


def admin_of(address: str) -> AdminClient:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 500})
    wait_for(lambda: admin.list_topics(timeout=WAIT_S).brokers or None, "a broker in service", WAIT_S)
    return admin


def create(admin: AdminClient, *topics: NewTopic) -> None:
    for created in admin.create_topics(list(topics), operation_timeout=WAIT_S).values():
        created.result(WAIT_S)


def topics_of(admin: AdminClient) -> dict[str, int]:
    return {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=WAIT_S).topics.items()}


def store_of(log_dir: Path) -> SnapshotStore:
    return SnapshotStore(FileStorage(), log_dir / str(METADATA_PARTITION))


def written(log_dir: Path) -> set[str]:
    """The snapshots of a node that runs; opening its store would take away what it is writing."""
    return {path.name for path in (log_dir / str(METADATA_PARTITION)).glob("*.checkpoint")}


def latest_records(log_dir: Path) -> list[MetadataRecord]:
    store = store_of(log_dir)
    assert store.latest is not None and not store.latest.is_bootstrap, "a snapshot was written"
    return [decode_record(value) for values in SnapshotReader(store, store.latest).values() for value in values]


def drop_the_log_before_the_latest_snapshot(log_dir: Path) -> None:
    """Leave nothing to start from but the snapshot and what follows it."""
    store = store_of(log_dir)
    assert store.latest is not None
    store.remove_before(store.latest)


def test_a_directory_changes_owner_with_its_snapshots(tmp_path: Path) -> None:
    log_dir = tmp_path / "node"
    with combined_node(log_dir, node_id=NODE_ID, config={**OFTEN, **SECURED}) as address:
        admin = admin_of(address)
        create(admin, NewTopic("alpha", 3, 1, config={"retention.ms": "5555"}))
        admin.create_acls([ACL])[ACL].result(WAIT_S)
        credential = UserScramCredentialUpsertion("alice", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 8192), b"secret")
        admin.alter_user_scram_credentials([credential])["alice"].result(WAIT_S)
        create(admin, NewTopic("gone", 30, 1), NewTopic("stays", 30, 1))
        wait_for(lambda: written(log_dir) or None, "a snapshot of Apache Kafka's", WAIT_S)
    # What it wrote, our image writes in the same order of sections, with the same content.
    theirs = latest_records(log_dir)
    image = MetadataImage()
    for offset, record in enumerate(theirs):
        image.replay(record, offset=offset)
    assert sorted(map(repr, image_records(image))) == sorted(map(repr, theirs))
    drop_the_log_before_the_latest_snapshot(log_dir)

    with our_node(log_dir) as admin:
        assert topics_of(admin).items() >= {"alpha": 3, "gone": 30, "stays": 30}.items()
        admin.delete_topics(["gone"])["gone"].result(WAIT_S)
        create(admin, NewTopic("ours", 20, 1), NewTopic("ours-too", 20, 1))
        before = written(log_dir)
        create(admin, NewTopic("ours-at-last", 20, 1))
        wait_for(lambda: written(log_dir) - before or None, "a snapshot of ours", WAIT_S)
    store = store_of(log_dir)
    assert store.latest is not None
    path = store.path(store.latest)

    dumped = run_alone("dump-log", "--cluster-metadata-decoder", "--files", str(path))
    assert dumped.code == 0 and "isvalid: false" not in dumped.out, dumped.everything
    assert dumped.out.count("payload:") == len(latest_records(log_dir))
    assert '"name":"metadata.version"' in dumped.out and "SnapshotHeader" in dumped.out and "SnapshotFooter" in dumped.out

    def shown_topics() -> set[str] | None:
        # On a busy machine the shell answers before it has read further than the header.
        return set(run_alone("metadata-shell", "--snapshot", str(path), "ls", "image/topics/byName").out.split()) & named or None

    named = {"alpha", "gone", "stays", "ours"}
    assert wait_for(shown_topics, "the shell to have read all of it", WAIT_S) == {"alpha", "stays", "ours"}
    drop_the_log_before_the_latest_snapshot(log_dir)

    with combined_node(log_dir, node_id=NODE_ID, config={**OFTEN, **SECURED}) as address:
        admin = admin_of(address)
        found = topics_of(admin)
        assert found.items() >= {"alpha": 3, "stays": 30, "ours": 20, "ours-too": 20, "ours-at-last": 20}.items()
        assert "gone" not in found
        described = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "alpha")])
        assert next(iter(described.values())).result(WAIT_S)["retention.ms"].value == "5555"
        anything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
        assert admin.describe_acls(anything).result(WAIT_S) == [ACL]
        alice = admin.describe_user_scram_credentials(["alice"])["alice"].result(WAIT_S)
        assert [info.iterations for info in alice.scram_credential_infos] == [8192]
        create(admin, NewTopic("theirs-again", 1, 1))
