"""A small Kafka client over blocking sockets: what the host itself asks of its cluster.

It goes in by the front door, as any client does, so what it creates and produces has passed the whole cluster.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Self

from kafkalab.engine.cluster.errors import HostError, RequestRefused
from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.codec import DecodeError, decode_response, encode_request, make_ready, read_response_header

CLIENT_ID: Final = "kafkalab-host"
RESPONSE_SIZE_MAX: Final = 64 * 1024 * 1024
RETRY_WAIT_S: Final = 0.02
CONNECT_TIMEOUT_S: Final = 2.0
# A paused broker takes connections and answers nothing: another one is asked after this long.
ANSWER_TIMEOUT_S: Final = 5.0

Address = tuple[str, int]

VERSIONS: Final[Mapping[ApiKey, int]] = {
    ApiKey.PRODUCE: 11,
    ApiKey.METADATA: 12,
    ApiKey.CREATE_TOPICS: 7,
    ApiKey.DELETE_TOPICS: 6,
    ApiKey.INCREMENTAL_ALTER_CONFIGS: 1,
    ApiKey.DESCRIBE_CONFIGS: 4,
    ApiKey.DESCRIBE_QUORUM: 2,
    ApiKey.UPDATE_FEATURES: 2,
    ApiKey.ADD_RAFT_VOTER: 1,
    ApiKey.REMOVE_RAFT_VOTER: 0,
    ApiKey.ELECT_LEADERS: 2,
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: 0,
}
_TOPIC: Final = 2
_TOPIC_CONFIG: Final = 1
_SET: Final = 0
_DELETE: Final = 1
_PREFERRED: Final = 0
_UNCLEAN: Final = 1
_NO_ERROR: Final = (0, None)
_NOBODY_TO_ELECT: Final = (Errors.PREFERRED_LEADER_NOT_AVAILABLE, Errors.ELIGIBLE_LEADERS_NOT_AVAILABLE)
"""A client may try again for ever; that a node has to come back first is an answer."""
_NO_SUCH_TOPIC: Final = (Errors.UNKNOWN_TOPIC_OR_PARTITION,)
"""Brokers may come to know a topic a moment later; the active controller knows all that there are, and it answers."""


class _Connection:
    """One TCP connection, one request at a time."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._socket = socket.create_connection(address, timeout=min(CONNECT_TIMEOUT_S, timeout_s))
        self._socket.settimeout(min(ANSWER_TIMEOUT_S, timeout_s))
        self._correlation_ids = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def call(self, api_key: ApiKey, body: Mapping[str, Any]) -> Any:
        version = VERSIONS[api_key]
        expected = next(self._correlation_ids)
        self._socket.sendall(b"".join(encode_request(api_key, version, expected, CLIENT_ID, body)))
        (size,) = struct.unpack(">i", self._read(4))
        if not 0 < size <= RESPONSE_SIZE_MAX:
            raise DecodeError(f"a response said to have {size} bytes")
        frame = self._read(size)
        correlation_id, body_at = read_response_header(api_key, version, frame)
        if correlation_id != expected:
            raise DecodeError(f"a response to request {correlation_id}, not {expected}")
        return decode_response(api_key, version, frame, body_at)

    def _read(self, size: int) -> bytes:
        chunks = []
        while size:
            chunk = self._socket.recv(min(size, 1 << 20))
            if not chunk:
                raise ConnectionResetError("the broker closed the connection")
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)


def _same(told: str | None, given: str) -> bool:
    """Whether a value that a broker tells is the one that was given: it drops blanks and writes numbers its own way."""
    told, given = (told or "").replace(" ", "").lower(), given.replace(" ", "").lower()
    try:
        return told == given or float(told) == float(given)
    except ValueError:
        return False


def _has_configs(connection: _Connection, topic: str, configs: Mapping[str, str | None]) -> bool:
    """Whether a topic has these settings of its own, as a broker tells them, and with None that it has not."""
    resource = {"resource_type": _TOPIC, "resource_name": topic, "configuration_keys": list(configs)}
    result = connection.call(ApiKey.DESCRIBE_CONFIGS, {"resources": [resource], "include_synonyms": True}).results[0]
    # A value is told in its plain form; whether it is the topic's own is what shows that a change arrived.
    own = {config.name: config.value for config in result.configs if config.config_source == _TOPIC_CONFIG}
    return all((key in own) == (value is not None) and (value is None or _same(own[key], value)) for key, value in configs.items())


class AdminClient:
    """Asks any broker that answers, again and again until the deadline where trying again can help."""

    def __init__(self, addresses: Callable[[], Sequence[Address]], gone: threading.Event) -> None:
        self._addresses = addresses
        self._gone = gone
        """Set when the cluster is being closed: nobody waits for it any more."""

    def make_ready(self, *apis: ApiKey) -> None:
        """What is going to be asked shall not cost time then."""
        for api_key in apis:
            make_ready(api_key, VERSIONS[api_key])

    def create_topic(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str], *, timeout_s: float) -> None:
        """Create a topic; -1 takes the broker's default for partitions or replication factor.

        :raises RequestRefused: when the controller will not.
        """
        what = f"Creating topic {name!r}"
        deadline = time.monotonic() + timeout_s
        entries = [{"name": key, "value": value} for key, value in configs.items()]
        topic = {
            "name": name,
            "num_partitions": partitions,
            "replication_factor": replication_factor,
            "configs": entries,
            "assignments": [],
        }
        body = {"topics": [topic], "timeout": int(timeout_s * 1000), "validate_only": False}

        def ask(connection: _Connection) -> tuple[int, str | None]:
            result = connection.call(ApiKey.CREATE_TOPICS, body).topics[0]
            return result.error_code, result.error_message

        def is_there(error: Errors) -> bool:
            if error is not Errors.TOPIC_ALREADY_EXISTS:
                return False
            return self._is_topic(name, partitions, replication_factor, configs, max(0.1, deadline - time.monotonic()))

        self._until_answered(what, ask, timeout_s, is_done=is_there)

    def _is_topic(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str], timeout_s: float) -> bool:
        """Whether a topic that exists is what was to be created."""
        found: list[bool] = []

        def look(connection: _Connection) -> tuple[int, str | None]:
            topic = connection.call(ApiKey.METADATA, {"topics": [{"name": name}], "allow_auto_topic_creation": False}).topics[0]
            if not topic.error_code:
                replicas = {len(partition.replica_nodes) for partition in topic.partitions}
                is_so = partitions in (-1, len(topic.partitions)) and (replication_factor == -1 or replicas == {replication_factor})
                found[:] = [is_so and _has_configs(connection, name, configs)]
            return topic.error_code, None

        self._until_answered(f"Looking at topic {name!r}", look, timeout_s)
        return found[0]

    def delete_topic(self, name: str, *, timeout_s: float) -> None:
        """Delete a topic by name.

        :raises RequestRefused: when the controller will not, or there is none of that name.
        """
        body = {"topics": [{"name": name, "topic_id": None}], "timeout": int(timeout_s * 1000)}

        def ask(connection: _Connection) -> tuple[int, str | None]:
            result = connection.call(ApiKey.DELETE_TOPICS, body).responses[0]
            # Kafka's words for it are of a partition that a server does not host.
            message = f"There is no topic {name!r}." if result.error_code in _NO_SUCH_TOPIC else result.error_message
            return result.error_code, message

        def is_gone(error: Errors) -> bool:
            return error in _NO_SUCH_TOPIC

        self._until_answered(f"Deleting topic {name!r}", ask, timeout_s, final=_NO_SUCH_TOPIC, is_done=is_gone)

    def alter_topic(self, name: str, configs: Mapping[str, str | None], *, timeout_s: float) -> None:
        """Change settings of a topic, None taking one back, and wait until each broker that answers goes by them.

        :raises RequestRefused: when the controller will not.
        """
        what = f"Changing topic {name!r}"
        deadline = time.monotonic() + timeout_s
        changes = [{"name": key, "config_operation": _DELETE if value is None else _SET, "value": value} for key, value in configs.items()]
        resource = {"resource_type": _TOPIC, "resource_name": name, "configs": changes}

        def ask(connection: _Connection) -> tuple[int, str | None]:
            body = {"resources": [resource], "validate_only": False}
            result = connection.call(ApiKey.INCREMENTAL_ALTER_CONFIGS, body).responses[0]
            return result.error_code, result.error_message

        self._until_answered(what, ask, timeout_s, final=_NO_SUCH_TOPIC)
        for address in self._addresses():
            while not self._goes_by(address, name, configs, max(0.1, deadline - time.monotonic())):
                if time.monotonic() >= deadline or self._gone.is_set():
                    raise HostError(f"{what} was accepted, but within {timeout_s:g} s not all brokers went by it.")
                self._gone.wait(RETRY_WAIT_S)

    def _goes_by(self, address: Address, name: str, configs: Mapping[str, str | None], timeout_s: float) -> bool:
        """Whether a broker has a topic's settings from the metadata; one that does not answer is not waited for."""
        try:
            with _Connection(address, timeout_s) as connection:
                return _has_configs(connection, name, configs)
        except (OSError, DecodeError):
            return True

    def elect_leaders(self, partitions: Sequence[tuple[str, int]] | None, *, unclean: bool, timeout_s: float) -> None:
        """Elect the preferred leaders, or any replica that is alive; of some partitions or, with None, of all.

        :raises RequestRefused: when there is one that the controller cannot give a leader; those that need no election
            are none.
        """
        by_topic: dict[str, list[int]] = {}
        for topic, partition in partitions or ():
            by_topic.setdefault(topic, []).append(partition)
        asked = [{"topic": topic, "partitions": numbers} for topic, numbers in by_topic.items()]
        body = {
            "election_type": _UNCLEAN if unclean else _PREFERRED,
            "topic_partitions": None if partitions is None else asked,
            "timeout": int(timeout_s * 1000),
        }

        def ask(connection: _Connection) -> tuple[int, str | None]:
            answer = connection.call(ApiKey.ELECT_LEADERS, body)
            if answer.error_code:
                return answer.error_code, None
            results = [result for topic in answer.replica_election_results for result in topic.partition_result]
            failed = (result for result in results if result.error_code not in (0, Errors.ELECTION_NOT_NEEDED))
            return next(((result.error_code, result.error_message) for result in failed), _NO_ERROR)

        self._until_answered("Electing leaders", ask, timeout_s, final=_NOBODY_TO_ELECT)

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None, *, timeout_s: float) -> None:
        """Let a partition's replicas be on these brokers, the preferred leader first; None takes a move back.

        :raises RequestRefused: when the controller will not.
        """
        moved = {"partition_index": partition, "replicas": None if replicas is None else list(replicas)}
        body = {"timeout": int(timeout_s * 1000), "topics": [{"name": topic, "partitions": [moved]}]}

        def is_taken_back(error: Errors) -> bool:
            return replicas is None and error is Errors.NO_REASSIGNMENT_IN_PROGRESS

        def ask(connection: _Connection) -> tuple[int, str | None]:
            answer = connection.call(ApiKey.ALTER_PARTITION_REASSIGNMENTS, body)
            if answer.error_code:
                return answer.error_code, answer.error_message
            result = answer.responses[0].partitions[0]
            return result.error_code, result.error_message

        self._until_answered(f"Moving {topic}-{partition}", ask, timeout_s, final=_NO_SUCH_TOPIC, is_done=is_taken_back)

    def produce(self, topic: str, batch: bytes, *, timeout_s: float) -> None:
        """Write one batch to partition 0 with acks=all, and wait until every replica in sync has it.

        :raises RequestRefused: when the leader will not.
        """

        def ask(connection: _Connection) -> tuple[int, str | None]:
            body = {"topics": [{"name": topic}], "allow_auto_topic_creation": False}
            metadata = connection.call(ApiKey.METADATA, body)
            found = metadata.topics[0]
            if found.error_code:
                return found.error_code, None
            leader_id = found.partitions[0].leader_id
            leader = next((broker for broker in metadata.brokers if broker.node_id == leader_id), None)
            if leader is None:
                return Errors.LEADER_NOT_AVAILABLE, None
            with _Connection((leader.host, leader.port), timeout_s) as to_leader:
                partition = {"index": 0, "records": batch}
                topics = [{"name": topic, "partition_data": [partition]}]
                answer = to_leader.call(
                    ApiKey.PRODUCE,
                    {"transactional_id": None, "acks": -1, "timeout": int(timeout_s * 1000), "topic_data": topics},
                )
            result = answer.responses[0].partition_responses[0]
            return result.error_code, result.error_message

        self._until_answered(f"Writing to topic {topic!r}", ask, timeout_s)

    def ask(self, what: str, api_key: ApiKey, body: Mapping[str, Any], take: Callable[[Any], Any], *, timeout_s: float) -> Any:
        """Ask for one thing; ``take`` finds in the response what has the error code, which is then the answer.

        :raises RequestRefused: when it has one that asking again does not help.
        """
        found: list[Any] = []

        def once(connection: _Connection) -> tuple[int, str | None]:
            answer = take(connection.call(api_key, body))
            found[:] = [answer]
            return answer.error_code, getattr(answer, "error_message", None)

        self._until_answered(what, once, timeout_s)
        return found[0]

    def _until_answered(
        self,
        what: str,
        ask: Callable[[_Connection], tuple[int, str | None]],
        timeout_s: float,
        *,
        final: Collection[Errors] = (),
        is_done: Callable[[Errors], bool] = lambda error: False,
    ) -> None:
        """Ask one broker after another.

        :param final: errors that asking again does not help, although others say that it may.
        :param is_done: whether an error says that all is as it should be. It is asked only when somebody was asked before
            and the answer did not come, or left it open: that time may have brought it about.
        """
        deadline = time.monotonic() + timeout_s
        in_doubt = False
        trouble = "no broker is running"
        for turn in itertools.count():
            addresses = self._addresses()
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or self._gone.is_set():
                raise HostError(f"{what} did not succeed within {timeout_s:g} s: {trouble.removesuffix('.')}.")
            if addresses:
                host, port = addresses[turn % len(addresses)]
                try:
                    with _Connection((host, port), remaining_s) as connection:
                        was_in_doubt, in_doubt = in_doubt, True
                        code, message = ask(connection)
                except (OSError, DecodeError) as e:
                    trouble = f"{host}:{port}: {e}"
                else:
                    if not code:
                        return
                    error = Errors(code)
                    if was_in_doubt and is_done(error):
                        return
                    # A topic is known to brokers a moment after the controller has committed it.
                    if not error.retriable or error in final:
                        raise RequestRefused(what, error, message)
                    trouble = f"{error.name} ({code})" + (f": {message}" if message else "")
            self._gone.wait(min(RETRY_WAIT_S, max(0.0, deadline - time.monotonic())))
