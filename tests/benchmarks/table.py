"""The table of ``make bench``: figures of ours and of Apache Kafka's, what is to be reached, and whether it was."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_TARGET: Final = re.compile(r"(?P<sign>[≥≤]) (?P<number>[\d,.]+)(?P<of_kafka> × Kafka)?")
HEADER: Final = "| figure | reach | KafkaLab | runs | Apache Kafka 4.3.1 | ratio | reached |\n|---|---|---|---|---|---|---|"


@dataclass
class Figure:
    """One row.

    :param reach: what is asked for, in words such as ``≥ 40 MB/s and ≥ 2 × Kafka``; other words ask for nothing that could be checked.
    """

    name: str
    unit: str
    reach: str
    ours: list[float] = field(default_factory=list)
    kafkas: list[float] = field(default_factory=list)

    @property
    def our_median(self) -> float | None:
        return statistics.median(self.ours) if self.ours else None

    @property
    def their_median(self) -> float | None:
        return statistics.median(self.kafkas) if self.kafkas else None

    @property
    def ratio(self) -> float | None:
        """Ours to theirs."""
        ours, theirs = self.our_median, self.their_median
        return ours / theirs if ours is not None and theirs else None

    def missed(self) -> list[str]:
        """What of ``reach`` was not reached."""
        return [words for words, is_reached in self._verdicts() if is_reached is False]

    @property
    def verdict(self) -> str:
        """``yes``, what was missed, or nothing where not all of it could be told or there is nothing to tell."""
        verdicts = [is_reached for _, is_reached in self._verdicts()]
        if missed := self.missed():
            return f"no: {' and '.join(missed)}"
        return "yes" if verdicts and None not in verdicts else ""

    def _verdicts(self) -> Iterator[tuple[str, bool | None]]:
        for target in _TARGET.finditer(self.reach):
            value = self.ratio if target["of_kafka"] else self.our_median
            wanted = float(target["number"].replace(",", ""))
            if value is None:
                yield target[0], None
            else:
                yield target[0], value >= wanted if target["sign"] == "≥" else value <= wanted


class Table:
    """All rows, in order of appearance."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}

    def add(self, name: str, unit: str, reach: str, value: float, *, kafka: bool) -> None:
        """One more run of a figure."""
        figure = self.figures.setdefault(name, Figure(name, unit, reach))
        (figure.kafkas if kafka else figure.ours).append(value)
        print(f"  {'kafka' if kafka else 'ours '}  {name}: {value:,.2f} {unit}", file=sys.stderr, flush=True)

    def missed(self) -> list[str]:
        """What was not reached, a line for each figure."""
        return [f"{figure.name}: {' and '.join(missed)}" for figure in self.figures.values() if (missed := figure.missed())]

    def markdown(self) -> str:
        lines = [HEADER]
        for figure in self.figures.values():
            ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
            cells = [figure.name, figure.reach, _cell(figure.our_median, figure.unit), str(len(figure.ours))]
            lines.append(f"| {' | '.join([*cells, _cell(figure.their_median, figure.unit), ratio, figure.verdict])} |")
        return "\n".join(lines)


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"
