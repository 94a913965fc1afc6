"""The window's own fonts: Inter for text, DejaVu Sans Mono for figures, and the signs both lack.

They lie in ``resources/fonts``: beside the package in a checkout, inside it in an installation.
Where they are missing, the system's fonts do.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from PySide6.QtGui import QFont, QFontDatabase

from kafkalab.ui.theme import tokens

UI_FAMILY: Final = "Inter"
MONO_FAMILY: Final = "DejaVu Sans Mono"
SYMBOLS_FAMILY: Final = "KafkaLab Symbols"


def resources_dir() -> Path | None:
    """The folder of fonts and icons, or None where it was not shipped."""
    package = Path(__file__).resolve().parents[2]
    for candidate in (package / "resources", package.parent / "resources"):
        if (candidate / "fonts").is_dir():
            return candidate
    return None


@cache
def load_fonts() -> tuple[str, ...]:
    """Register the fonts with Qt once and return the families that came with them. Needs a QGuiApplication."""
    folder = resources_dir()
    if folder is None:
        return ()
    families: list[str] = []
    for path in sorted((folder / "fonts").iterdir()):
        if path.suffix in (".ttf", ".otf"):
            font_id = QFontDatabase.addApplicationFont(str(path))
            if font_id >= 0:
                families += QFontDatabase.applicationFontFamilies(font_id)
    return tuple(dict.fromkeys(families))


def _font(families: list[str], size_px: int, weight: QFont.Weight) -> QFont:
    load_fonts()
    font = QFont(families)
    font.setPixelSize(size_px)
    font.setWeight(weight)
    font.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    return font


@cache
def ui_font(size_px: int = tokens.FONT_UI_PX, *, semibold: bool = False) -> QFont:
    """The font of words."""
    font = _font([UI_FAMILY, SYMBOLS_FAMILY, "sans-serif"], size_px, QFont.Weight.DemiBold if semibold else QFont.Weight.Normal)
    # Digits of one width, so that numbers within words do not dance either.
    if hasattr(font, "setFeature"):
        font.setFeature(QFont.Tag("tnum"), 1)
    return font


@cache
def mono_font(size_px: int = tokens.FONT_UI_PX, *, bold: bool = False) -> QFont:
    """The font of offsets, addresses, times and rates."""
    font = _font([MONO_FAMILY, SYMBOLS_FAMILY, "monospace"], size_px, QFont.Weight.Bold if bold else QFont.Weight.Normal)
    font.setStyleHint(QFont.StyleHint.Monospace)
    return font


@cache
def symbol_font(size_px: int = tokens.FONT_UI_PX) -> QFont:
    """The font of glyphs such as stars and crosses, the same on every system."""
    return _font([SYMBOLS_FAMILY, MONO_FAMILY, UI_FAMILY], size_px, QFont.Weight.Normal)
