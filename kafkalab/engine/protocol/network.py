"""How a core reaches other nodes: the seam that sockets and the simulator both fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kafkalab.engine.protocol.apis import ApiKey


class Network(Protocol):
    """Requests to other nodes of the cluster, by their id."""

    def send(
        self,
        node_id: int,
        api_key: ApiKey,
        body: Mapping[str, Any],
        on_response: Callable[[Any | None], None],
        *,
        timeout_ms: float,
        version: int | None = None,
    ) -> None:
        """Send a request; ``on_response`` is called once, later, never from within this call.

        It gets the decoded response, or None when the node could not be reached, did not answer
        in time, or hung up. Requests to one node are sent in the order of the calls and answered
        in that order too. ``version`` None is the highest served.
        """
