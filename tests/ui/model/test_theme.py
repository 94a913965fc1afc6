"""Colours that can be read, and numbers that keep their width."""

from __future__ import annotations

import pytest

from kafkalab.ui.theme import formats
from kafkalab.ui.theme.tokens import BROKER_COLOURS, DARK, DARK_INK, LIGHT, TOPIC_COLOURS, Theme, contrast, ink_on, topic_colour

TEXT_MIN = 4.5
SHAPE_MIN = 3.0


GROUNDS = [(ground, ink) for ground in ("bg", "panel", "raised") for ink in ("text", "muted", "accent", "ok", "warn", "error")]


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize(("ground", "ink"), [*GROUNDS, ("selection", "text"), ("selection", "muted")])
def test_text_can_be_read(theme: Theme, ground: str, ink: str) -> None:
    assert contrast(getattr(theme, ink), getattr(theme, ground)) >= TEXT_MIN


@pytest.mark.parametrize("fill", TOPIC_COLOURS)
def test_chips_can_be_read(fill: str) -> None:
    assert contrast(ink_on(fill), fill) >= TEXT_MIN


@pytest.mark.parametrize("fill", BROKER_COLOURS)
def test_bands_can_be_read(fill: str) -> None:
    assert contrast(DARK_INK, fill) >= TEXT_MIN


def test_outlines_of_what_is_gone_can_be_seen() -> None:
    for theme in (DARK, LIGHT):
        assert contrast(theme.off, theme.bg) >= SHAPE_MIN


def test_topics_beyond_seven_repeat_and_internal_ones_are_muted() -> None:
    assert topic_colour(7, DARK) == topic_colour(0, DARK)
    assert topic_colour(-1, DARK) == DARK.muted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formats.format_count(0), "0"),
        (formats.format_count(999), "999"),
        (formats.format_count(1_284_530), "1\u2009284\u2009530"),
        (formats.format_count(-1_000), "-1\u2009000"),
        (formats.format_offset(-1), "–"),
        (formats.format_bytes(0), "0 B"),
        (formats.format_bytes(999), "999 B"),
        (formats.format_bytes(1_000), "1.00 kB"),
        (formats.format_bytes(128_400_000), "128 MB"),
        (formats.format_bytes(999_600), "1.00 MB"),
        (formats.format_byte_rate(41_200_000), "41.2 MB/s"),
        (formats.format_rate(1_204), "1\u2009204/s"),
        (formats.format_rate(45_100, "records"), "45.1 k records/s"),
        (formats.format_ms(1_539.4), "1\u2009539 ms"),
        (formats.format_seconds(1_539), "1.539 s"),
        (formats.format_lag_time(30), "0.03 s"),
        (formats.format_span(4_100), "4 s"),
        (formats.format_span(185_000), "3 min 05 s"),
        (formats.format_span(2 * 3_600_000 + 600_000), "2 h 10 min"),
        (formats.format_span(76 * 3_600_000), "3 d 4 h"),
        (formats.format_ago(4_100), "4 s ago"),
        (formats.plural(1, "partition"), "1 partition"),
        (formats.plural(1_000, "partition"), "1\u2009000 partitions"),
        (formats.plural(2, "replica is", "replicas are"), "2 replicas are"),
        (formats.join_names(["a", "b"]), "a, b"),
        (formats.join_names([str(at) for at in range(9)]), "0, 1, 2, 3 and 5 more"),
    ],
)
def test_formats(text: str, expected: str) -> None:
    assert text == expected


def test_clocks_have_milliseconds_and_one_width() -> None:
    early, late = formats.format_clock(1_772_366_340_005.2), formats.format_clock(1_772_366_345_640.9)
    assert early.endswith(".005") and late.endswith(".640")
    assert len(early) == len(late) == 12
    assert formats.format_clock_second(1_772_366_340_005.2) == early[:8]
