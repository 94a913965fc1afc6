"""A controller's own registration: every node of the quorum tells the active controller where it listens (KIP-919).

Clients that talk to controllers learn of them by these registrations, and levels of features are
raised only when every registered controller knows them.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.features import SUPPORTED_FEATURES
from kafkalab.engine.common.time import Clock, Timer
from kafkalab.engine.controller.levels import CONTROLLERS_REGISTER_SINCE
from kafkalab.engine.metadata.image import METADATA_VERSION_FEATURE, MetadataDelta, MetadataImage
from kafkalab.engine.protocol.apis import ApiKey

log = logging.getLogger(__name__)

RETRY_BACKOFF_MS: Final = 100.0
RETRY_BACKOFF_MAX_MS: Final = 120_000.0
ANSWER_TIMEOUT_MS: Final = 10_000.0


class Channel(Protocol):
    """The way to the active controller."""

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Any, *, timeout_ms: float = ...) -> None:
        """Send a request; the answer is None when no controller took it before the deadline."""


class ControllerRegistrar:
    """Registers one controller, and again whenever the metadata tell of another life of it."""

    def __init__(
        self, *, node_id: int, incarnation_id: uuid.UUID, listeners: Mapping[str, tuple[str, int]], clock: Clock, channel: Channel
    ) -> None:
        self._node_id = node_id
        self._incarnation_id = incarnation_id
        self._listeners = listeners
        self._clock = clock
        self._channel = channel
        self._is_registered = False
        self._is_under_way = False
        self._is_closed = False
        self._failures = 0
        self._timer: Timer | None = None

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The image moved: register where it does not name this life; it must have been told how to write records first."""
        if not delta.changed_features and self._node_id not in delta.changed_controllers:
            return  # An answer may be here before the record that it speaks of.
        registered = image.controllers.get(self._node_id)
        self._is_registered = registered is not None and registered.incarnation_id == self._incarnation_id
        if image.features.get(METADATA_VERSION_FEATURE, 0) >= CONTROLLERS_REGISTER_SINCE and self._timer is None:
            self._register()

    def _register(self) -> None:
        self._timer = None
        if self._is_registered or self._is_under_way or self._is_closed:
            return
        self._is_under_way = True
        body = {
            "controller_id": self._node_id,
            "incarnation_id": self._incarnation_id,
            "zk_migration_ready": False,
            "listeners": [
                {"name": name, "host": host, "port": port, "security_protocol": 0} for name, (host, port) in self._listeners.items()
            ],
            "features": [
                {"name": name, "min_supported_version": low, "max_supported_version": high}
                for name, (low, high) in SUPPORTED_FEATURES.items()
            ],
        }
        self._channel.send(ApiKey.CONTROLLER_REGISTRATION, body, self._answered, timeout_ms=ANSWER_TIMEOUT_MS)

    def _answered(self, response: Any | None) -> None:
        self._is_under_way = False
        if self._is_closed:
            return
        if response is not None and response.error_code == Errors.NONE:
            self._failures = 0
            return
        if response is not None:
            log.warning("controller %d: its registration was answered with %s", self._node_id, Errors.name_of(response.error_code))
        delay_ms = min(RETRY_BACKOFF_MS * 2**self._failures, RETRY_BACKOFF_MAX_MS)
        self._failures = min(self._failures + 1, 20)
        self._timer = self._clock.call_later(delay_ms, self._register)

    def close(self) -> None:
        """Register no more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
