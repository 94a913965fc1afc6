"""Brokers that are silent do not stay in service: whoever can fence them does, in time.

A controller fences a broker of which it has heard nothing for ``broker.session.timeout.ms``. How long it takes
to commit that depends on what goes wrong besides, so there is a margin; but under one controller, that lives and
leads all the while, a dead broker is fenced by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kafkalab.engine.metadata.image import MetadataImage
    from kafkalab.engine.simulation.world import SimWorld

LOOK_EVERY_MS: Final = 500.0
MARGIN_MS: Final = 10_000.0
SESSION_TIMEOUT: Final = "broker.session.timeout.ms"
SESSION_TIMEOUT_MS: Final = 9_000.0


class SilenceWatch:
    """Looks, now and then, who is dead and in service all the same."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        configured = next(iter(world.nodes.values())).spec.config.get(SESSION_TIMEOUT)
        self._limit_ms = (SESSION_TIMEOUT_MS if configured is None else float(configured)) + MARGIN_MS
        self._next_ms = 0.0
        self._controller: tuple[int, int, int] | None = None
        """Id, epoch and life of the one that is active."""
        self._controller_since_ms = 0.0
        self._silent: dict[int, tuple[int, float]] = {}
        """By broker that does not run: its life, and since when."""

    def overdue(self, image: MetadataImage) -> str | None:
        """Who is in service by this image and should not be; None mostly."""
        now_ms = self._world.now_ms
        if now_ms < self._next_ms:
            return None
        self._next_ms = now_ms + LOOK_EVERY_MS
        active = self._active()
        if active is None or active != self._controller:
            self._controller, self._controller_since_ms = active, now_ms
        for broker_id in self._world.broker_ids:
            sim = self._world.nodes[broker_id]
            since = self._silent.get(broker_id)
            broker = image.brokers.get(broker_id)
            if sim.is_running:
                self._silent.pop(broker_id, None)
            elif since is None or since[0] != sim.lives or broker is None or broker.fenced:
                # What it sent before it died may be on its way for long, and let it be in service once more.
                self._silent[broker_id] = (sim.lives, now_ms)
            elif now_ms - max(since[1], self._controller_since_ms) > self._limit_ms:
                if active is not None:
                    return f"broker {broker_id} is silent since {since[1]:.0f} ms; controller {active[0]} has it in service"
        return None

    def _active(self) -> tuple[int, int, int] | None:
        node_id = self._world.active_controller()
        sim = None if node_id is None else self._world.nodes[node_id]
        if node_id is None or sim is None or not sim.is_running or sim.node is None or sim.node.raft is None:
            return None
        return node_id, sim.node.raft.epoch, sim.lives
