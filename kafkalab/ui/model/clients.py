"""Connections gathered into clients: one card per client id, one per group, one line per node.

A client that merely bootstrapped is shown by its client id; once it produces it is a producer, once
it speaks for a group it belongs to the group's card.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from kafkalab.engine.telemetry.levels import ConnectionKey, ConnectionLevel
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.things import Client, ClientLink, Connection, PeerLink

LOST_GRACE_MS: Final = 1_500.0
"""A line whose connections went stays this long: clients reconnect, and a kill is told after its sockets closed."""
CONTROLLER_LISTENER: Final = "CONTROLLER"
_NODE_CLIENT_ID: Final = re.compile(r"(?:raft-client|broker|controller)-(\d+)\b")
BROKEN_KEPT_MS: Final = 60_000.0
"""A broken line of a client with no other connection stays this long."""


def peer_of(level: ConnectionLevel) -> int:
    """The node at the other end, -1 for a client.

    Only nodes come to the controllers' listener; there the client id says which one it is.
    """
    if level.peer_node_id >= 0 or level.listener != CONTROLLER_LISTENER:
        return level.peer_node_id
    found = _NODE_CLIENT_ID.match(level.client_id)
    return int(found[1]) if found else -1


class Clients:
    """All live connections and who they belong to."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.connections: dict[ConnectionKey, Connection] = {}
        self.peer_links: dict[tuple[int, int], PeerLink] = {}
        self._groups_of: dict[str, set[str]] = {}  # client id -> groups it speaks for

    # --- connections ---------------------------------------------------------------------------

    def update(self, key: ConnectionKey, level: ConnectionLevel, change: ChangeSet) -> None:
        """A connection's latest facts."""
        connection = self.connections.get(key)
        if connection is None:
            connection = self.connections[key] = Connection(key, level, "")
            self._join(connection, change)
        else:
            old = connection.level
            connection.level = level
            if (
                old.client_id != level.client_id
                or old.group_id != level.group_id
                or old.software != level.software
                or old.peer_node_id != level.peer_node_id
                or old.acks != level.acks
                or old.producer_id != level.producer_id
                or old.last_error != level.last_error
                or (not old.produced_bytes) != (not level.produced_bytes)
            ):
                if connection.peer_id >= 0:
                    pass
                elif peer_of(level) < 0:
                    self._move(connection, change)
                else:
                    # It told who it is only after the first requests.
                    self._leave(connection, change, lost_at_ms=-1.0)
                    self._join(connection, change)
        connection.produced.update(level.produced_bytes)
        connection.fetched.update(level.fetched_bytes)
        connection.bytes_in.update(level.bytes_in)
        connection.bytes_out.update(level.bytes_out)
        change.parts.add(Part.CONNECTIONS)

    def remove(self, key: ConnectionKey, now_ms: float, change: ChangeSet) -> None:
        """A connection is gone."""
        connection = self.connections.pop(key, None)
        if connection is not None:
            self._leave(connection, change, lost_at_ms=now_ms)
            change.parts.add(Part.CONNECTIONS)

    def _key_for(self, level: ConnectionLevel) -> str:
        if level.group_id:
            return f"g:{level.group_id}"
        if level.produced_bytes or level.acks is not None:
            return f"c:{level.client_id}"
        groups = self._groups_of.get(level.client_id)
        if groups:
            return f"g:{min(groups)}"
        return f"c:{level.client_id}"

    def _join(self, connection: Connection, change: ChangeSet) -> None:
        level, node_id = connection.level, connection.node_id
        connection.peer_id = peer_of(level)
        if connection.peer_id >= 0:
            connection.client_key = ""
            pair = (node_id, connection.peer_id)
            peer = self.peer_links.get(pair)
            if peer is None:
                peer = self.peer_links[pair] = PeerLink(*pair)
                change.parts.add(Part.CLIENTS)
            peer.connections += 1
            return
        if level.group_id and level.group_id not in self._groups_of.setdefault(level.client_id, set()):
            self._groups_of[level.client_id].add(level.group_id)
            self._gather(level.client_id, change)
        key = self._key_for(level)
        connection.client_key = key
        client = self.clients.get(key)
        if client is None:
            client = self.clients[key] = Client(key=key, title=key[2:] or "unnamed client")
            if key.startswith("g:"):
                client.kind, client.group_id = "group", key[2:]
            change.parts.add(Part.CLIENTS)
        client.connections.add(connection.key)
        link = client.links.get(node_id)
        if link is None:
            link = client.links[node_id] = ClientLink(node_id)
            change.parts.add(Part.CLIENTS)
        if link.connections == 0:
            if link.broken:
                change.parts.add(Part.CLIENTS)
            link.broken, link.lost_at_ms = False, -1.0
        link.connections += 1
        self._describe(client, level, change)
        change.clients.add(key)

    def _leave(self, connection: Connection, change: ChangeSet, *, lost_at_ms: float) -> None:
        node_id = connection.node_id
        if not connection.client_key:
            pair = (node_id, connection.peer_id)
            peer = self.peer_links.get(pair)
            if peer is not None:
                peer.connections -= 1
                if peer.connections <= 0:
                    del self.peer_links[pair]
                    change.parts.add(Part.CLIENTS)
            return
        client = self.clients.get(connection.client_key)
        # Whoever has left cannot leave once more: while it moves to its group, others are gathered there too.
        connection.client_key = ""
        if client is None:
            return
        client.connections.discard(connection.key)
        link = client.links.get(node_id)
        if link is not None:
            link.connections -= 1
            if link.connections <= 0:
                link.connections, link.produce_rate, link.fetch_rate = 0, 0.0, 0.0
                link.lost_at_ms = lost_at_ms
                if lost_at_ms < 0:
                    del client.links[node_id]
                change.parts.add(Part.CLIENTS)
        if not client.links:
            del self.clients[client.key]
            change.parts.add(Part.CLIENTS)
        change.clients.add(client.key)

    def _move(self, connection: Connection, change: ChangeSet) -> None:
        level = connection.level
        learnt = bool(level.group_id) and level.group_id not in self._groups_of.get(level.client_id, ())
        if learnt or self._key_for(level) != connection.client_key:
            self._leave(connection, change, lost_at_ms=-1.0)
            self._join(connection, change)
        else:
            self._describe(self.clients[connection.client_key], level, change)

    def _gather(self, client_id: str, change: ChangeSet) -> None:
        """The client id turned out to speak for a group: bring its other connections along."""
        for other in list(self.connections.values()):
            if other.level.client_id == client_id and other.client_key and self._key_for(other.level) != other.client_key:
                self._leave(other, change, lost_at_ms=-1.0)
                self._join(other, change)

    def _describe(self, client: Client, level: ConnectionLevel, change: ChangeSet) -> None:
        client.client_ids.add(level.client_id)
        client.software = level.software or client.software
        client.last_error = level.last_error or client.last_error
        if level.acks is not None:
            client.acks = level.acks
        if level.producer_id >= 0:
            client.producer_id = level.producer_id
        if client.kind != "group":
            kind = "producer" if client.acks is not None or level.produced_bytes else "consumer" if level.fetched_bytes else client.kind
            if kind != client.kind:
                client.kind = kind
                change.parts.add(Part.CLIENTS)
            client.subtitle = _producer_words(client)
        change.clients.add(client.key)

    # --- nodes and time ------------------------------------------------------------------------

    def node_gone(self, node_id: int, at_ms: float, change: ChangeSet) -> None:
        """A node went away: what was connected to it, or just lost it, has a broken line now."""
        for client in self.clients.values():
            link = client.links.get(node_id)
            if link is not None and (link.connections or at_ms - link.lost_at_ms <= LOST_GRACE_MS):
                link.broken = True
                change.clients.add(client.key)
                change.parts.add(Part.CLIENTS)

    def node_back(self, node_id: int, change: ChangeSet) -> None:
        """A node is in service again: broken lines go, live ones are told by their connections."""
        for key, client in list(self.clients.items()):
            link = client.links.get(node_id)
            if link is None or not link.broken:
                continue
            link.broken = False
            if link.connections == 0:
                del client.links[node_id]
                if not client.links:
                    del self.clients[key]
            change.clients.add(key)
            change.parts.add(Part.CLIENTS)

    def sample(self, span_ms: float, now_ms: float, change: ChangeSet) -> None:
        """Close an interval: rates of connections, lines, clients; lines that are long gone leave."""
        for peer in self.peer_links.values():
            peer.rate = 0.0
        for client in self.clients.values():
            client.produce_rate = client.fetch_rate = 0.0
            for link in client.links.values():
                link.produce_rate = link.fetch_rate = 0.0
        for connection in self.connections.values():
            connection.bytes_in.sample(span_ms)
            out = connection.bytes_out.sample(span_ms)
            produced = connection.produced.sample(span_ms)
            fetched = connection.fetched.sample(span_ms)
            if not connection.client_key:
                peer_link = self.peer_links.get((connection.node_id, connection.peer_id))
                if peer_link is not None:
                    peer_link.rate += out
            elif produced or fetched:
                client = self.clients[connection.client_key]
                line = client.links[connection.node_id]
                line.produce_rate += produced
                line.fetch_rate += fetched
                client.produce_rate += produced
                client.fetch_rate += fetched
        self._drop_lost(now_ms, change)

    def _drop_lost(self, now_ms: float, change: ChangeSet) -> None:
        for key, client in list(self.clients.items()):
            for node_id, link in list(client.links.items()):
                if link.connections:
                    continue
                kept_ms = BROKEN_KEPT_MS if link.broken else LOST_GRACE_MS
                if now_ms - link.lost_at_ms > kept_ms and not (link.broken and client.connections):
                    del client.links[node_id]
                    change.clients.add(key)
                    change.parts.add(Part.CLIENTS)
            if not client.links:
                del self.clients[key]

    def forget_groups(self, alive: Callable[[str], bool]) -> None:
        """Client ids no longer speak for groups that are gone."""
        for client_id, groups in list(self._groups_of.items()):
            groups.intersection_update({group for group in groups if alive(group)})
            if not groups:
                del self._groups_of[client_id]


def acks_words(acks: int | None) -> str:
    """``acks=all``."""
    return "" if acks is None else "acks=all" if acks == -1 else f"acks={acks}"


def software_words(software: str) -> str:
    """``confluent-kafka-python 2.16.1-rdkafka-2.16.0`` → the name and version that a person knows it by."""
    return software.partition("-rdkafka-")[0]


def _producer_words(client: Client) -> str:
    producer = f"producer id {client.producer_id}" if client.producer_id >= 0 else ""
    return " · ".join(part for part in (software_words(client.software) or "unknown software", acks_words(client.acks), producer) if part)
