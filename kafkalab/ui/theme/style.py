"""The tokens as Qt wants them: a palette, one style sheet, and whether the system is dark."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from kafkalab.ui.theme import tokens
from kafkalab.ui.theme.fonts import MONO_FAMILY, UI_FAMILY, load_fonts, ui_font
from kafkalab.ui.theme.tokens import DARK, LIGHT, THEMES, Theme

CHOICES: Final = ("system", "light", "dark")


def system_theme() -> Theme:
    """Light or dark, as the system is set."""
    hints = QApplication.styleHints()
    return DARK if hints.colorScheme() == Qt.ColorScheme.Dark else LIGHT


def chosen_theme(choice: str) -> Theme:
    """The theme for "system", "light" or "dark"; anything else follows the system."""
    return THEMES.get(choice) or system_theme()


def build_palette(theme: Theme) -> QPalette:
    """The palette for widgets that no style sheet reaches."""
    palette = QPalette()
    roles = {
        QPalette.ColorRole.Window: theme.panel,
        QPalette.ColorRole.WindowText: theme.text,
        QPalette.ColorRole.Base: theme.panel,
        QPalette.ColorRole.AlternateBase: theme.raised,
        QPalette.ColorRole.Text: theme.text,
        QPalette.ColorRole.Button: theme.raised,
        QPalette.ColorRole.ButtonText: theme.text,
        QPalette.ColorRole.BrightText: theme.error,
        QPalette.ColorRole.ToolTipBase: theme.raised,
        QPalette.ColorRole.ToolTipText: theme.text,
        QPalette.ColorRole.PlaceholderText: theme.muted,
        QPalette.ColorRole.Highlight: theme.selection,
        QPalette.ColorRole.HighlightedText: theme.text,
        QPalette.ColorRole.Link: theme.accent,
        QPalette.ColorRole.LinkVisited: theme.accent,
        QPalette.ColorRole.Light: theme.raised,
        QPalette.ColorRole.Midlight: theme.line,
        QPalette.ColorRole.Mid: theme.line,
        QPalette.ColorRole.Dark: theme.line,
        QPalette.ColorRole.Shadow: theme.bg,
    }
    for role, colour in roles.items():
        palette.setColor(role, QColor(colour))
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(theme.off))
    return palette


def build_style_sheet(theme: Theme) -> str:
    """The style sheet of the whole window."""
    t = theme
    return f"""
* {{ outline: none; }}
QMainWindow, QDialog {{ background: {t.panel}; color: {t.text}; }}
QMainWindow::separator {{ background: {t.line}; width: 1px; height: 1px; }}
QMainWindow::separator:hover {{ background: {t.accent}; }}
QWidget {{ color: {t.text}; }}
QToolTip {{ background: {t.raised}; color: {t.text}; border: 1px solid {t.line}; padding: 4px 6px; }}
QMenuBar {{ background: {t.panel}; color: {t.text}; padding: 2px 6px; }}
QMenuBar::item {{ padding: 4px 10px; border-radius: {tokens.RADIUS_FIELD}px; background: transparent; }}
QMenuBar::item:selected {{ background: {t.selection}; }}
QMenu {{ background: {t.panel}; color: {t.text}; border: 1px solid {t.line}; padding: 4px; }}
QMenu::item {{ padding: 5px 24px 5px 12px; border-radius: {tokens.RADIUS_FIELD}px; }}
QMenu::item:selected {{ background: {t.selection}; }}
QMenu::item:disabled {{ color: {t.off}; }}
QMenu::separator {{ height: 1px; background: {t.line}; margin: 4px 8px; }}
QDockWidget {{ color: {t.muted}; font-size: {tokens.FONT_CAPITALS_PX}px; font-weight: 600; }}
QDockWidget > QWidget {{ background: {t.panel}; }}
QDockWidget::title {{ background: {t.panel}; padding: 8px {tokens.DOCK_PADDING}px 4px {tokens.DOCK_PADDING}px; text-align: left; }}
QTabBar {{ background: {t.panel}; }}
QTabBar::tab {{ background: transparent; color: {t.muted}; padding: 8px 14px 7px 14px; border: none;
    border-bottom: 2px solid transparent; }}
QTabBar::tab:selected {{ color: {t.text}; font-weight: 600; border-bottom: 2px solid {t.accent}; }}
QTabBar::tab:hover:!selected {{ color: {t.text}; }}
QTabBar::tab:focus {{ border-bottom: 2px solid {t.accent}; }}
QTabWidget::pane {{ border: none; border-top: 1px solid {t.line}; background: {t.bg}; }}
QPushButton, QToolButton {{ background: {t.raised}; color: {t.text}; border: 1px solid {t.line};
    border-radius: {tokens.RADIUS_FIELD}px; padding: 0 12px; min-height: {tokens.BUTTON_HEIGHT - 2}px; }}
QToolButton {{ padding: 0 6px; }}
QPushButton:hover, QToolButton:hover {{ border-color: {t.muted}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {t.selection}; }}
QPushButton:focus, QToolButton:focus {{ border: 2px solid {t.accent}; padding: 0 11px; }}
QToolButton:focus {{ padding: 0 5px; }}
QPushButton:disabled, QToolButton:disabled {{ color: {t.off}; }}
QPushButton:default {{ border-color: {t.accent}; }}
QToolButton[flat="true"], QPushButton[flat="true"] {{ background: transparent; border-color: transparent; }}
QLineEdit, QPlainTextEdit, QTextEdit, QComboBox, QAbstractSpinBox {{ background: {t.raised}; color: {t.text};
    border: 1px solid {t.line}; border-radius: {tokens.RADIUS_FIELD}px; padding: 0 8px; selection-background-color: {t.selection};
    selection-color: {t.text}; }}
QLineEdit, QComboBox, QAbstractSpinBox {{ min-height: {tokens.FIELD_HEIGHT - 2}px; }}
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QComboBox:focus, QAbstractSpinBox:focus {{ border-color: {t.accent}; }}
QComboBox QAbstractItemView {{ background: {t.panel}; border: 1px solid {t.line}; selection-background-color: {t.selection}; }}
QAbstractItemView {{ background: {t.panel}; color: {t.text}; border: none; alternate-background-color: {t.panel};
    selection-background-color: {t.selection}; selection-color: {t.text}; }}
QAbstractItemView::item {{ min-height: {tokens.ROW_HEIGHT}px; }}
QAbstractItemView::item:hover {{ background: {t.raised}; }}
QAbstractItemView::item:selected {{ background: {t.selection}; color: {t.text}; }}
QHeaderView {{ background: {t.panel}; }}
QHeaderView::section {{ background: {t.panel}; color: {t.muted}; border: none; border-bottom: 1px solid {t.line}; padding: 4px 8px; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
QScrollBar::handle {{ background: {t.line}; border-radius: 3px; min-height: 24px; min-width: 24px; margin: 2px; }}
QScrollBar::handle:hover {{ background: {t.off}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QStatusBar {{ background: {t.raised}; color: {t.muted}; }}
QStatusBar::item {{ border: none; }}
QStatusBar QLabel {{ color: {t.muted}; }}
QSplitter::handle {{ background: {t.line}; }}
QCheckBox, QRadioButton {{ spacing: 8px; }}
QCheckBox:focus, QRadioButton:focus {{ color: {t.accent}; }}
QGroupBox {{ border: 1px solid {t.line}; border-radius: {tokens.RADIUS_CARD}px; margin-top: 8px; padding-top: 8px; }}
QProgressBar {{ background: {t.raised}; border: 1px solid {t.line}; border-radius: {tokens.RADIUS_FIELD}px; text-align: center; }}
QProgressBar::chunk {{ background: {t.accent}; border-radius: 3px; }}
*[tone="muted"] {{ color: {t.muted}; }}
*[tone="accent"] {{ color: {t.accent}; }}
*[tone="ok"] {{ color: {t.ok}; }}
*[tone="warn"] {{ color: {t.warn}; }}
*[tone="error"] {{ color: {t.error}; }}
*[face="mono"] {{ font-family: "{MONO_FAMILY}"; }}
*[face="ui"] {{ font-family: "{UI_FAMILY}"; }}
"""


def apply_theme(app: QApplication, theme: Theme) -> None:
    """Dress the whole application."""
    load_fonts()
    app.setFont(ui_font())
    app.setPalette(build_palette(theme))
    app.setStyleSheet(build_style_sheet(theme))
