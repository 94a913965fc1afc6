"""A clock whose timers run one at a time, as a test says: what is done in one turn of a loop, and what in the next."""

from __future__ import annotations

from collections.abc import Callable


class Turn:
    """A timer."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Turns:
    """Time stands still; what was put off waits for :meth:`take`."""

    def __init__(self) -> None:
        self._turns: list[tuple[float, Turn]] = []

    def now_ms(self) -> float:
        return 1_000.0

    def wall_ms(self) -> int:
        return 1_700_000_000_000

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Turn:
        turn = Turn(callback)
        self._turns.append((delay_ms, turn))
        return turn

    @property
    def waiting(self) -> list[float]:
        """After how long each is due that was not cancelled."""
        return [delay_ms for delay_ms, turn in self._turns if turn.callback is not None]

    def take(self) -> bool:
        """Run the next one; whether there was one."""
        while self._turns:
            _, turn = self._turns.pop(0)
            if turn.callback is not None:
                turn.callback()
                return True
        return False
