"""How long ago each broker was heard of. Soft state of the active controller: never in a record.

Each session has one timer. A heartbeat only notes its time; the timer, when it fires, looks whether
the session is over and else waits for the rest. So a silent broker is noticed exactly
``broker.session.timeout.ms`` after its last heartbeat, and heartbeats cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kafkalab.engine.common.time import Clock, Timer

TIMER_RESOLUTION_MS: Final = 1.0
STALL_MS: Final = 1_000.0
"""A timer this late means that this node itself stood still; brokers are not to blame for that."""
STALL_GRACE_MS: Final = 2_000.0
"""Time for heartbeats that wait in the sockets after a stall: one heartbeat interval."""


class BrokerSession:
    """One broker's contact with this controller."""

    __slots__ = ("broker_epoch", "controlled_shutdown_offset", "last_contact_ms", "metadata_offset", "timer", "timer_due_ms")

    def __init__(self, broker_epoch: int) -> None:
        self.broker_epoch = broker_epoch
        self.last_contact_ms = 0.0
        self.metadata_offset = -1
        self.controlled_shutdown_offset = -1
        """When the others have this offset, a broker that shuts down may go; -1 while it does not."""
        self.timer: Timer | None = None
        self.timer_due_ms = 0.0


class BrokerSessions:
    """The sessions of all brokers."""

    def __init__(self, clock: Clock, *, timeout_ms: float, on_expired: Callable[[int, int], None]) -> None:
        """``on_expired(broker_id, broker_epoch)`` is called once for each run of silence."""
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._on_expired = on_expired
        self._sessions: dict[int, BrokerSession] = {}

    def get(self, broker_id: int) -> BrokerSession | None:
        """A broker's session, over or not."""
        return self._sessions.get(broker_id)

    def touch(self, broker_id: int, broker_epoch: int) -> BrokerSession:
        """A broker was heard of."""
        session = self._sessions.get(broker_id)
        if session is None or session.broker_epoch != broker_epoch:
            self.remove(broker_id)
            session = self._sessions[broker_id] = BrokerSession(broker_epoch)
        session.last_contact_ms = self._clock.now_ms()
        if session.timer is None:
            self._arm(broker_id, session, self._timeout_ms)
        return session

    def silent_ms(self, broker_id: int) -> float:
        """Time since the broker was heard of; 0 where that is not known."""
        session = self._sessions.get(broker_id)
        return 0.0 if session is None else self._clock.now_ms() - session.last_contact_ms

    def is_valid(self, broker_id: int, broker_epoch: int) -> bool:
        """Whether that very registration was heard of recently enough."""
        session = self._sessions.get(broker_id)
        return session is not None and session.broker_epoch == broker_epoch and self.silent_ms(broker_id) < self._timeout_ms

    def remove(self, broker_id: int) -> None:
        """Forget a broker's session."""
        session = self._sessions.pop(broker_id, None)
        if session is not None and session.timer is not None:
            session.timer.cancel()

    def clear(self) -> None:
        """Forget all sessions."""
        for broker_id in list(self._sessions):
            self.remove(broker_id)

    def _arm(self, broker_id: int, session: BrokerSession, delay_ms: float) -> None:
        session.timer_due_ms = self._clock.now_ms() + delay_ms
        session.timer = self._clock.call_later(delay_ms, lambda: self._fire(broker_id, session))

    def _fire(self, broker_id: int, session: BrokerSession) -> None:
        session.timer = None
        if self._sessions.get(broker_id) is not session:
            return
        silent_ms = self.silent_ms(broker_id)
        if silent_ms < self._timeout_ms:
            # Timers may be early by a rounding; never wait for less than they can tell apart.
            self._arm(broker_id, session, max(TIMER_RESOLUTION_MS, self._timeout_ms - silent_ms))
        elif self._clock.now_ms() - session.timer_due_ms > STALL_MS:
            self._arm(broker_id, session, STALL_GRACE_MS)
        else:
            self._on_expired(broker_id, session.broker_epoch)
