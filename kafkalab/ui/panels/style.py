"""The panels' part of the style sheet: one rule per role that a widget can have."""

from __future__ import annotations

from kafkalab.ui.theme import tokens
from kafkalab.ui.theme.fonts import MONO_FAMILY, SYMBOLS_FAMILY, UI_FAMILY
from kafkalab.ui.theme.tokens import Theme

_TONES = ("muted", "accent", "ok", "warn", "error")


def build_panel_sheet(theme: Theme) -> str:
    """Rules for ``role`` properties, after those of the whole window."""
    t = theme
    mono = f'font-family: "{MONO_FAMILY}", "{SYMBOLS_FAMILY}"'
    rules = [
        f'QLabel[role="{tone}"] {{ color: {t.tone(tone)}; }} QLabel[role="mono-{tone}"] {{ color: {t.tone(tone)}; {mono}; }}'
        for tone in _TONES
    ]
    rules.append(f"""
QLabel {{ background: transparent; }}
QWidget {{ font-family: "{UI_FAMILY}", "{SYMBOLS_FAMILY}"; font-size: {tokens.FONT_UI_PX}px; }}
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ width: 0; border: none; }}
QAbstractSpinBox QLineEdit {{ background: transparent; border: none; padding: 0 8px; margin: 0; min-height: 0; }}
QComboBox::drop-down {{ border: none; width: 20px; }}
QCheckBox::indicator {{ width: 13px; height: 13px; border: 1px solid {t.muted}; border-radius: 3px; background: {t.raised}; }}
QCheckBox::indicator:checked {{ border: 4px solid {t.accent}; width: 7px; height: 7px; background: {t.panel}; }}
QSlider::groove:horizontal {{ height: 4px; background: {t.line}; border-radius: 2px; }}
QSlider::handle:horizontal {{ width: 12px; margin: -5px 0; border-radius: 6px; background: {t.accent}; }}
QLabel[role="mono"] {{ {mono}; }}
QLabel[role="title"] {{ font-size: {tokens.FONT_TITLE_PX}px; font-weight: 600; }}
QLabel[role="heading"] {{ font-size: {tokens.FONT_NAME_PX}px; font-weight: 600; }}
QLabel[role="strong"] {{ font-weight: 600; }}
QLabel[role="small"] {{ color: {t.muted}; font-size: {tokens.FONT_SECONDARY_PX}px; }}
QLabel[role="dock"] {{ color: {t.muted}; font-size: {tokens.FONT_CAPITALS_PX}px; font-weight: 600; letter-spacing: 0.3px; }}
QWidget[role="panel"], QWidget[role="dockbar"], QWidget[role="topbar"] {{ background: {t.panel}; }}
QWidget[role="topbar"] {{ border-bottom: 1px solid {t.line}; }}
QWidget[role="stage"], QScrollArea[role="stage"], QTableView[role="stage"] {{ background: {t.bg}; }}
QTableView[role="stage"] QHeaderView, QTableView[role="stage"] QHeaderView::section {{ background: {t.bg}; }}
QStackedWidget[role="stage"] {{ background: {t.bg}; }}
QWidget[role="status"] {{ background: {t.raised}; }}
QFrame[role="hairline"] {{ background: {t.line}; border: none; }}
QFrame[role="banner"], QFrame[role="banner-error"] {{ background: {t.raised}; border: none;
    border-bottom: 1px solid {t.line}; border-left: 3px solid {t.accent}; }}
QFrame[role="banner-error"] {{ border-left: 3px solid {t.error}; }}
QFrame[role="palette"], QFrame[role="card"] {{ background: {t.panel}; border: 1px solid {t.line}; border-radius: {tokens.RADIUS_CARD}px; }}
QPushButton[role="link"] {{ background: transparent; border: none; color: {t.accent}; padding: 0; min-height: 18px; }}
QPushButton[role="link"]:hover, QPushButton[role="link"]:focus {{ text-decoration: underline; border: none; padding: 0; }}
QPushButton[role="hint"] {{ background: transparent; border: none; color: {t.muted}; padding: 0 2px; min-height: 20px; }}
QPushButton[role="hint"]:hover, QPushButton[role="hint"]:focus {{ color: {t.text}; border: none; padding: 0 2px; }}
QPushButton[role="quiet"] {{ background: transparent; border: none; color: {t.muted}; padding: 0 4px; min-height: 20px; }}
QPushButton[role="quiet"]:hover {{ color: {t.text}; }}
QPushButton[role="quiet"]:checked {{ color: {t.accent}; }}
QPushButton[role="quiet"]:focus {{ border: none; padding: 0 4px; text-decoration: underline; }}
QLineEdit[role="quiet"] {{ background: transparent; border: 1px solid transparent; color: {t.text}; min-height: 20px; padding: 0 6px; }}
QLineEdit[role="quiet"]:hover {{ border-color: {t.line}; }}
QLineEdit[role="quiet"]:focus {{ border-color: {t.accent}; background: {t.raised}; }}
QPushButton[role="segment"] {{ background: transparent; color: {t.muted}; border: 1px solid {t.line}; padding: 0 10px;
    min-height: {tokens.FIELD_HEIGHT - 4}px; }}
QPushButton[role="segment"]:checked {{ background: {t.selection}; color: {t.text}; border-color: {t.accent}; }}
QPushButton[role="segment"]:focus {{ border: 1px solid {t.accent}; padding: 0 10px; }}
QPushButton[role="danger"]:enabled {{ color: {t.error}; border-color: {t.error}; }}
QAbstractItemView::item, QAbstractItemView::item:hover, QAbstractItemView::item:selected {{ background: transparent; min-height: 0; }}
QToolBar {{ background: {t.panel}; border: none; padding: 0; spacing: 0; }}
QTreeView::branch {{ background: transparent; }}
QDialog QLabel[role="error"] {{ color: {t.error}; }}
""")
    return "\n".join(rules)
