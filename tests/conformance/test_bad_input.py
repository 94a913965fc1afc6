"""Rubbish is sent to a running cluster while another client works on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from kafkalab import Lab
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.record.batch import Record, build_batch
from kafkalab.engine.telemetry.events import BadInput

WAIT_S = 60


def address(lab: Lab) -> tuple[str, int]:
    host, port = lab.bootstrap_servers.split(",")[0].split(":")
    return host, int(port)


@pytest.fixture(autouse=True)
def _the_others_work_on(lab: Lab) -> Iterator[None]:
    """A second client that is connected before and produces after."""
    producer = Producer({"bootstrap.servers": lab.bootstrap_servers, "acks": "all"})
    errors: list[Any] = []
    producer.produce("bystander", b"before", on_delivery=lambda error, _m: errors.append(error))
    assert producer.flush(WAIT_S) == 0
    yield
    producer.produce("bystander", b"after", on_delivery=lambda error, _m: errors.append(error))
    assert producer.flush(WAIT_S) == 0
    assert errors == [None, None]
    assert all(node.is_running for node in lab.describe().nodes)


BAD = {
    "frame_negative": struct.pack(">i", -5),
    "frame_too_long": struct.pack(">i", 104_857_601),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(190),
    "malformed_header": struct.pack(">i", 5) + b"\x00\x03\x00\x01\x00",
    "unknown_api": struct.pack(">ihhih", 10, 9999, 0, 1, -1),
    "unsupported_version": struct.pack(">ihhih", 10, 0, 2, 1, -1),
    "malformed_request": struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0x7FFFFFFF),
    # The active controller would answer it, were it a request.
    "malformed_request, forwarded": struct.pack(">ihhihi", 14, 20, 1, 1, -1, 0x7FFFFFFF),
}


@pytest.mark.parametrize("case", BAD)
def test_a_connection_that_sends_rubbish_is_closed_with_its_reason(lab: Lab, case: str) -> None:
    reason = case.partition(",")[0]
    events = lab.hub.open_reader()
    with socket.create_connection(address(lab), timeout=WAIT_S) as sock:
        sock.sendall(BAD[case])
        assert sock.recv(100) == b""
    happened = [event for event in events.drain()[0] if isinstance(event, BadInput)]
    assert [event.reason for event in happened] == [reason]
    assert happened[0].detail


def test_a_frame_cut_short_executes_nothing(lab: Lab) -> None:
    with socket.create_connection(address(lab), timeout=WAIT_S) as sock:
        sock.sendall(struct.pack(">ihh", 100, 3, 9))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == b""


def ask(sock: socket.socket, api_key: ApiKey, version: int, body: dict[str, Any]) -> Any:
    sock.sendall(b"".join(codec.encode_request(api_key, version, 1, "rubbish", body)))
    stream = sock.makefile("rb")
    (size,) = struct.unpack(">i", stream.read(4))
    frame = stream.read(size)
    _, at = codec.read_response_header(api_key, version, frame)
    return codec.decode_response(api_key, version, frame, at)


def leader_address(lab: Lab, topic: str) -> tuple[str, int]:
    host, port = lab.describe().node(lab.describe().leader(topic, 0)).address.split(":")
    return host, int(port)


def produce(lab: Lab, topic: str, records: bytes, acks: int = -1) -> Any:
    with socket.create_connection(leader_address(lab, topic), timeout=WAIT_S) as sock:
        body = {"acks": acks, "timeout": 5_000, "topic_data": [{"name": topic, "partition_data": [{"index": 0, "records": records}]}]}
        return ask(sock, ApiKey.PRODUCE, 9, body).responses[0].partition_responses[0]


def batch(count: int = 1, **options: Any) -> bytes:
    return build_batch([Record(i, 1_700_000_000_000, None, b"v", ()) for i in range(count)], **options)


def with_field(good: bytes, at: int, value: bytes, *, fix_crc: bool = True) -> bytes:
    from crc32c import crc32c

    bad = bytearray(good)
    bad[at : at + len(value)] = value
    if fix_crc:
        bad[17:21] = struct.pack(">I", crc32c(bytes(bad[21:])))
    return bytes(bad)


@pytest.fixture
def one(lab: Lab, topic: str) -> str:
    lab.create_topic(topic, partitions=1, replication_factor=3)
    return topic


GOOD = batch()


@pytest.mark.parametrize(
    ("records", "error"),
    [
        (with_field(GOOD, len(GOOD) - 1, b"\x7f", fix_crc=False), 2),
        (GOOD + GOOD, 87),
        (b"", 87),
        (GOOD[:-3], 87),
        (with_field(GOOD, 16, b"\x01", fix_crc=False), 87),
        (with_field(GOOD, 57, struct.pack(">i", 9)), 87),
        (with_field(GOOD, 57, struct.pack(">i", -1)), 87),
        (with_field(GOOD, 21, struct.pack(">h", 0x20)), 87),
    ],
    ids=["bad crc", "two batches", "no batch", "cut batch", "magic 1", "count too large", "count negative", "control batch"],
)
def test_bad_batches_get_kafkas_codes_and_append_nothing(lab: Lab, one: str, records: bytes, error: int) -> None:
    assert produce(lab, one, records).error_code == error
    assert produce(lab, one, GOOD).base_offset == 0


def test_a_batch_larger_than_the_topic_takes_is_refused(lab: Lab, topic: str) -> None:
    lab.create_topic(topic, partitions=1, replication_factor=1, config={"max.message.bytes": 200})
    big = build_batch([Record(0, 1_700_000_000_000, None, b"v" * 500, ())])
    assert produce(lab, topic, big).error_code == 10


def test_acks_that_do_not_exist_are_refused(lab: Lab, one: str) -> None:
    assert produce(lab, one, GOOD, acks=7).error_code == 21


def test_acks_0_with_an_error_closes_the_connection(lab: Lab, one: str) -> None:
    with socket.create_connection(leader_address(lab, one), timeout=WAIT_S) as sock:
        body = {"acks": 0, "timeout": 5_000, "topic_data": [{"name": one, "partition_data": [{"index": 0, "records": b"rubbish"}]}]}
        sock.sendall(b"".join(codec.encode_request(ApiKey.PRODUCE, 9, 1, "rubbish", body)))
        assert sock.recv(100) == b""


def test_a_sequence_with_a_gap_is_out_of_order(lab: Lab, one: str) -> None:
    assert produce(lab, one, batch(producer_id=7, producer_epoch=0, base_sequence=0)).error_code == 0
    assert produce(lab, one, batch(producer_id=7, producer_epoch=0, base_sequence=5)).error_code == 45
    again = produce(lab, one, batch(producer_id=7, producer_epoch=0, base_sequence=0))
    assert (again.error_code, again.base_offset) == (0, 0), "a repeat is answered with its first offset"


def test_a_fetch_that_claims_to_be_a_replica_is_not_believed(lab: Lab, one: str) -> None:
    with socket.create_connection(leader_address(lab, one), timeout=WAIT_S) as sock:
        body = {
            "replica_id": 2_000,
            "max_wait": 0,
            "min_bytes": 0,
            "max_bytes": 1_000,
            "topics": [{"topic": one, "partitions": [{"partition": 0, "fetch_offset": 99_999, "partition_max_bytes": 1_000}]}],
        }
        response = ask(sock, ApiKey.FETCH, 11, body)
        partition = response.responses[0].partitions[0]
        assert partition.error_code != 0
    assert produce(lab, one, GOOD).error_code == 0
