"""Tells a client that asked the wrong broker which one to ask (KIP-951)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafkalab.engine.metadata.image import MetadataImage


class LeaderHints:
    """Gathers the current leaders that one response names, and then where they are."""

    def __init__(self, image: MetadataImage, listener_name: str) -> None:
        self._image = image
        self._listener_name = listener_name
        self._leaders: dict[int, None] = {}

    def leader_of(self, topic: str, partition: int) -> dict[str, int]:
        """The partition's leader and its epoch, -1 where there is none."""
        registration = self._image.partition(topic, partition)
        if registration is None:
            return {"leader_id": -1, "leader_epoch": -1}
        if registration.leader >= 0:
            self._leaders[registration.leader] = None
        return {"leader_id": registration.leader, "leader_epoch": registration.leader_epoch}

    def endpoints(self) -> list[dict[str, Any]]:
        """The addresses of those leaders on the listener that the client came by."""
        found: list[dict[str, Any]] = []
        for broker_id in self._leaders:
            broker = self._image.brokers.get(broker_id)
            address = None if broker is None else broker.listeners.get(self._listener_name)
            if broker is not None and address is not None:
                found.append({"node_id": broker_id, "host": address[0], "port": address[1], "rack": broker.rack})
        return found
