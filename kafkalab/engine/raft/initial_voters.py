"""The first voters of a quorum as formatting is told them: ``id@host:port:directory``, separated by commas (KIP-853)."""

from __future__ import annotations

from collections.abc import Iterable

from kafkalab.engine.common.ids import uuid_from_text
from kafkalab.engine.raft.voters import KRAFT_VERSION_MAX, KRAFT_VERSION_MIN, ReplicaKey, Voter, VoterSet

PORT_MAX = 65_535


def parse_initial_voters(text: str, listener_name: str) -> VoterSet:
    """
    :raises ValueError: with a sentence that says what is wrong, in the words of Kafka's tool.
    """
    return initial_voters(parse_voter(one, listener_name) for one in text.strip().split(",") if one)


def initial_voters(voters: Iterable[Voter]) -> VoterSet:
    """
    :raises ValueError: when there are none, or one comes twice.
    """
    by_id: dict[int, Voter] = {}
    for voter in voters:
        if voter.key.id in by_id:
            raise ValueError(f"Node id {voter.key.id} was specified more than once.")
        by_id[voter.key.id] = voter
    if not by_id:
        raise ValueError("No voters given.")
    return VoterSet(by_id.values())


def parse_voter(text: str, listener_name: str) -> Voter:
    """
    :raises ValueError: see :func:`parse_initial_voters`.
    """
    text = text.strip()
    node_text, at, rest = text.partition("@")
    if not at:
        raise ValueError("No @ found in dynamic voter string.")
    if not node_text:
        raise ValueError("Invalid @ at beginning of dynamic voter string.")
    try:
        node_id = int(node_text)
    except ValueError:
        raise ValueError("Failed to parse node id in dynamic voter string.") from None
    if node_id < 0:
        raise ValueError(f"Invalid negative node id {node_id} in dynamic voter string.")
    if not rest:
        raise ValueError("No hostname found after node id.")
    host, rest = _host(rest)
    if not rest.startswith(":"):
        raise ValueError("Port section must start with a colon.")
    port_text, colon, directory = rest[1:].partition(":")
    if not colon:
        raise ValueError("No colon following port could be found.")
    try:
        port = int(port_text)
    except ValueError:
        raise ValueError("Failed to parse port in dynamic voter string.") from None
    if not 0 <= port <= PORT_MAX:
        raise ValueError(f"Invalid port {port} in dynamic voter string.")
    try:
        directory_id = uuid_from_text(directory)
    except ValueError:
        raise ValueError("Failed to parse directory ID in dynamic voter string.") from None
    return Voter(
        key=ReplicaKey(node_id, directory_id),
        endpoints={listener_name: (host, port)},
        min_version=KRAFT_VERSION_MIN,
        max_version=KRAFT_VERSION_MAX,
    )


def _host(text: str) -> tuple[str, str]:
    """The host, which may be an IPv6 address in brackets, and what follows it."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError("Hostname began with left bracket, but no right bracket was found.")
        return host, rest
    host, colon, rest = text.partition(":")
    if not colon:
        raise ValueError("No colon following hostname could be found.")
    return host, colon + rest
