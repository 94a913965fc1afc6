"""Numbers, sizes, rates, durations and times as the window writes them. Plain text, no Qt.

Thousands stand apart by a thin space; three significant digits for sizes and rates, so that
live values change their digits and not their width.
"""

from __future__ import annotations

import time
from typing import Final

THIN_SPACE: Final = "\u2009"
UNKNOWN: Final = "–"
_SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_COUNT_UNITS: Final = ("", "k", "M", "G", "T")


def format_count(value: int) -> str:
    """1284530 → ``1 284 530``."""
    if -1000 < value < 1000:
        return str(value)
    return f"{value:,}".replace(",", THIN_SPACE)


def format_offset(value: int) -> str:
    """An offset; one that is not known (below 0) is a dash."""
    return UNKNOWN if value < 0 else format_count(value)


def _scaled(value: float, units: tuple[str, ...]) -> tuple[str, str]:
    magnitude = 0
    while abs(value) >= 999.5 and magnitude < len(units) - 1:
        value /= 1000.0
        magnitude += 1
    if magnitude == 0:
        return f"{value:.0f}", units[0]
    if abs(value) < 9.995:
        return f"{value:.2f}", units[magnitude]
    return (f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"), units[magnitude]


def format_bytes(value: float) -> str:
    """128400000 → ``128 MB`` (decimal units)."""
    number, unit = _scaled(value, _SIZE_UNITS)
    return f"{number} {unit}"


def format_byte_rate(per_second: float) -> str:
    """41200000 → ``41.2 MB/s``."""
    number, unit = _scaled(per_second, _SIZE_UNITS)
    return f"{number} {unit}/s"


def format_rate(per_second: float, what: str = "") -> str:
    """Things per second: ``1 204/s``, ``45.1 k records/s``."""
    if per_second < 10_000:
        number, unit = format_count(round(per_second)), ""
    else:
        number, unit = _scaled(per_second, _COUNT_UNITS)
    return f"{number}{' ' if unit or what else ''}{unit}{' ' if unit and what else ''}{what}/s"


def format_ms(value_ms: float) -> str:
    """A measured span in full milliseconds: ``1 539 ms``."""
    return f"{format_count(round(value_ms))} ms"


def format_seconds(value_ms: float) -> str:
    """A measured span in seconds with milliseconds: ``1.539 s``."""
    return f"{value_ms / 1000:.3f} s"


def format_lag_time(value_ms: float) -> str:
    """A lag in time: ``0.03 s``, ``12.4 s``, ``3 min 05 s``."""
    seconds = value_ms / 1000
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return format_span(value_ms)


def format_span(value_ms: float) -> str:
    """A span for reading: ``4 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 4 h``."""
    seconds = max(int(value_ms // 1000), 0)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def format_ago(value_ms: float) -> str:
    """``4 s ago``."""
    return f"{format_span(value_ms)} ago"


_clock_second = -1
_clock_text = ""


def format_clock(at_ms: float) -> str:
    """A moment by the local clock with milliseconds: ``12:00:05.640``."""
    global _clock_second, _clock_text
    second, millis = divmod(int(at_ms), 1000)
    # Neighbouring rows share their second, and the conversion is what costs.
    if second != _clock_second:
        _clock_second, _clock_text = second, time.strftime("%H:%M:%S", time.localtime(second))
    return f"{_clock_text}.{millis:03d}"


def format_clock_second(at_ms: float) -> str:
    """A moment by the local clock in seconds: ``12:00:05``."""
    return time.strftime("%H:%M:%S", time.localtime(int(at_ms) // 1000))


def format_date(at_ms: float) -> str:
    """A moment with its day: ``2026-03-01 12:00:05.640``."""
    return time.strftime("%Y-%m-%d ", time.localtime(int(at_ms) // 1000)) + format_clock(at_ms)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 broker``, ``3 brokers``."""
    return f"{format_count(count)} {noun if count == 1 else (nouns or noun + 's')}"


def join_names(names: list[str], shown_max: int = 4) -> str:
    """``a, b, c`` and how many more there are."""
    if len(names) <= shown_max:
        return ", ".join(names)
    return f"{', '.join(names[:shown_max])} and {format_count(len(names) - shown_max)} more"
