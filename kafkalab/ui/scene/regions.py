"""What lies where on a painted view: for the mouse, the keyboard, tooltips and screen readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QPointF, QRectF

from kafkalab.ui.model.links import Link
from kafkalab.ui.model.things import NoticeAction


class Shape(StrEnum):
    """How a region's ring is drawn."""

    CHIP = "chip"
    CARD = "card"
    HEXAGON = "hexagon"
    TEXT = "text"


@dataclass(slots=True)
class Region:
    """A place that means something. Later regions lie on top of earlier ones."""

    rect: QRectF
    link: Link
    shape: Shape
    name: str  # what a screen reader says
    tip: Callable[[], str] | None = None
    action: NoticeAction | None = None


class Regions:
    """All regions of a view, found by point or by direction."""

    def __init__(self) -> None:
        self._all: list[Region] = []

    def __iter__(self) -> Iterator[Region]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def clear(self) -> None:
        """Forget all."""
        self._all.clear()

    def add(self, region: Region) -> None:
        """One more, on top."""
        self._all.append(region)

    def at(self, point: QPointF) -> Region | None:
        """The topmost region at the point."""
        for region in reversed(self._all):
            if region.rect.contains(point):
                return region
        return None

    def of(self, link: Link) -> Region | None:
        """The region of a thing."""
        return next((region for region in self._all if region.link == link and region.action is None), None)

    def next_to(self, origin: Region | None, dx: int, dy: int) -> Region | None:
        """The nearest region in a direction; the first one when there is no origin."""
        if origin is None:
            return self._all[0] if self._all else None
        start = origin.rect.center()
        best, best_cost = None, float("inf")
        for region in self._all:
            if region is origin:
                continue
            to = region.rect.center() - start
            ahead = to.x() * dx + to.y() * dy
            aside = abs(to.x() * dy) + abs(to.y() * dx)
            if ahead <= 1.0:
                continue
            cost = ahead + 2.5 * aside
            if cost < best_cost:
                best, best_cost = region, cost
        return best
