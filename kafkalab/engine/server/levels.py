"""Samples of a node's connections and counters, taken only while something changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from kafkalab.engine.common.time import Clock
from kafkalab.engine.protocol.apis import API_SPECS
from kafkalab.engine.server.connection import Connection
from kafkalab.engine.telemetry.hub import TelemetrySink
from kafkalab.engine.telemetry.levels import LEVEL_INTERVAL_MS, ConnectionKey, ConnectionLevel, NodeKey, NodeLevel

CONNECTION_INTERVAL_MS: Final = 2 * LEVEL_INTERVAL_MS


class LevelSampler:
    """Turns counters of connections into levels, at most every :data:`CONNECTION_INTERVAL_MS`."""

    def __init__(self, node_id: int, clock: Clock, sink: TelemetrySink, record_bytes: Callable[[], tuple[int, int]]) -> None:
        """``record_bytes`` gives the record bytes produced to and fetched from this node by clients."""
        self._node_id = node_id
        self._clock = clock
        self._sink = sink
        self._record_bytes = record_bytes
        self._dirty: list[Connection] = []
        self._armed = False
        self._gone = [0, 0, 0, 0, 0]
        self._live: set[Connection] = set()
        self._closed = False
        self.bad_input: Counter[str] = Counter()

    def opened(self, connection: Connection) -> None:
        """A connection was accepted."""
        self._live.add(connection)
        self.touched(connection)

    def touched(self, connection: Connection) -> None:
        """A connection's counters have changed."""
        if not connection.is_dirty:
            connection.is_dirty = True
            self._dirty.append(connection)
            self._arm()

    def closed(self, connection: Connection) -> None:
        """A connection is gone: its counters stay part of the node's."""
        self._live.discard(connection)
        for i, value in enumerate(self._counters(connection)):
            self._gone[i] += value
        connection.is_dirty = True  # never sampled again
        if connection in self._dirty:
            self._dirty.remove(connection)
        if not self._closed:
            self._sink.level(ConnectionKey(self._node_id, connection.info.id), None)
            self._arm()

    def stop(self) -> None:
        """Say nothing more: the node is gone."""
        self._closed = True

    @staticmethod
    def _counters(connection: Connection) -> tuple[int, int, int, int, int]:
        stats = connection.info.stats
        if connection.is_peer:
            return 0, 0, stats.bytes_in, stats.bytes_out, stats.requests
        return stats.bytes_in, stats.bytes_out, 0, 0, stats.requests

    def _arm(self) -> None:
        if not self._armed and not self._closed:
            self._armed = True
            self._clock.call_later(CONNECTION_INTERVAL_MS, self._sample)

    def _sample(self) -> None:
        self._armed = False
        if self._closed:
            return
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.is_dirty = False
        if not self._sink.keeps_levels:
            return
        for connection in dirty:
            self._sink.level(ConnectionKey(self._node_id, connection.info.id), self._level(connection))
        totals = list(self._gone)
        for connection in self._live:
            for i, value in enumerate(self._counters(connection)):
                totals[i] += value
        produced, fetched = self._record_bytes()
        level = NodeLevel(
            client_bytes_in=totals[0],
            client_bytes_out=totals[1],
            peer_bytes_in=totals[2],
            peer_bytes_out=totals[3],
            requests=totals[4],
            connections=len(self._live),
            produced_bytes=produced,
            fetched_bytes=fetched,
            bad_input=tuple(sorted(self.bad_input.items())),
        )
        self._sink.level(NodeKey(self._node_id), level)

    @staticmethod
    def _level(connection: Connection) -> ConnectionLevel:
        info = connection.info
        stats = info.stats
        return ConnectionLevel(
            client_id=connection.client_id,
            software=f"{info.software_name} {info.software_version}".strip(),
            address=f"{info.client_host}:{info.client_port}",
            listener=info.listener_name,
            peer_node_id=stats.peer_node_id,
            bytes_in=stats.bytes_in,
            bytes_out=stats.bytes_out,
            requests=stats.requests,
            produced_bytes=stats.produced_bytes,
            fetched_bytes=stats.fetched_bytes,
            in_flight=connection.in_flight,
            apis=tuple((API_SPECS[key].name, version, count) for (key, version), count in sorted(stats.apis.items())),
            acks=stats.acks,
            producer_id=stats.producer_id,
            last_error=stats.last_error,
            group_id=stats.group_id,
        )
