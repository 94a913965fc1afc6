"""Colours and sizes of the window as data: two themes with the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# The Okabe-Ito set, told apart by all common kinds of colour vision.
TOPIC_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
BROKER_COLOURS: Final = ("#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#F0E442")
DARK_INK: Final = "#101318"
LIGHT_INK: Final = "#ffffff"

ROW_HEIGHT: Final = 24
BUTTON_HEIGHT: Final = 28
FIELD_HEIGHT: Final = 26
DOCK_PADDING: Final = 14
RADIUS_FIELD: Final = 4
RADIUS_CHIP: Final = 5
RADIUS_CARD: Final = 6
STROKE_HAIRLINE: Final = 1.0
STROKE_CARD: Final = 1.5
STROKE_RING: Final = 2.0
RING_GAP: Final = 3.0

FONT_UI_PX: Final = 12
FONT_SECONDARY_PX: Final = 11
FONT_NAME_PX: Final = 14
FONT_TITLE_PX: Final = 16
FONT_CAPITALS_PX: Final = 10


@dataclass(frozen=True, slots=True)
class Theme:
    """One set of colour tokens, each ``#rrggbb``."""

    name: str
    is_dark: bool
    bg: str
    panel: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    selection: str
    ok: str
    warn: str
    error: str
    off: str

    def tone(self, tone: str) -> str:
        """The colour of a tone by its name (``ui.model.states.Tone``)."""
        colour = getattr(self, tone)
        assert isinstance(colour, str)
        return colour


DARK: Final = Theme(
    name="dark",
    is_dark=True,
    bg="#14171c",
    panel="#1b1f26",
    raised="#232830",
    line="#323944",
    text="#e6e9ee",
    muted="#9aa4b2",
    accent="#5aa9ff",
    selection="#26364c",
    ok="#3fb97c",
    warn="#e0a32e",
    error="#f0646c",
    off="#6b7480",
)

LIGHT: Final = Theme(
    name="light",
    is_dark=False,
    bg="#f5f6f8",
    panel="#ffffff",
    raised="#f0f2f5",
    line="#d5dae1",
    text="#1b2129",
    muted="#5a6472",
    accent="#0b63c5",
    selection="#dcebfb",
    ok="#15693f",
    warn="#8a5a00",
    error="#b42330",
    off="#6b7480",
)

THEMES: Final = {"dark": DARK, "light": LIGHT}


def _channel(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    """WCAG relative luminance of ``#rrggbb``."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.2126 * _channel(red) + 0.7152 * _channel(green) + 0.0722 * _channel(blue)


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio, from 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def ink_on(fill: str) -> str:
    """White or near-black, whichever reads better on the fill."""
    return LIGHT_INK if contrast(LIGHT_INK, fill) >= contrast(DARK_INK, fill) else DARK_INK


def topic_colour(index: int, theme: Theme) -> str:
    """The colour of a topic by its index of creation; internal topics (-1) are muted."""
    return theme.muted if index < 0 else TOPIC_COLOURS[index % len(TOPIC_COLOURS)]


def broker_colour(index: int) -> str:
    """The colour that stands for a broker, by its place among the brokers."""
    return BROKER_COLOURS[index % len(BROKER_COLOURS)]
