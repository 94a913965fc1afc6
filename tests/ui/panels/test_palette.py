"""The command palette finds by letters, does on Return, and does not do what cannot be done."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from kafkalab.ui.dialogs.palette import CommandPalette
from kafkalab.ui.itemmodels.fuzzy import NO_MATCH, score
from kafkalab.ui.itemmodels.palette import PaletteEntry, PaletteModel, ReasonRole


@pytest.mark.parametrize(
    ("query", "better", "worse"),
    [
        ("orders", "orders", "orders-0"),
        ("kill", "Kill broker 2", "Skilled workers"),
        ("kb2", "Kill broker 2", "Kill broker 1"),
        ("broker 3", "Restart broker 3", "Restart broker 1"),
        ("^ord", "orders", "reorder"),
        ("-1$", "orders-1", "orders-10"),
    ],
)
def test_the_nearer_name_scores_higher(query: str, better: str, worse: str) -> None:
    assert score(query, better) > score(query, worse)
    assert score(query, better) != NO_MATCH


def test_letters_out_of_order_do_not_match() -> None:
    assert score("llik", "Kill") == NO_MATCH


def test_rows_are_ordered_by_fit(qtbot: QtBot) -> None:
    model = PaletteModel()
    model.set_entries([PaletteEntry(title, "topic", lambda: None) for title in ("reorders", "orders-0", "orders", "clicks")])
    model.set_query("orders")
    assert [model.index(row, 0).data() for row in range(model.rowCount())] == ["orders", "orders-0", "reorders"]


def test_return_does_what_is_chosen(qtbot: QtBot) -> None:
    window = QWidget()
    window.resize(900, 600)
    qtbot.addWidget(window)
    window.show()
    palette = CommandPalette(window)
    done: list[str] = []
    entries = [PaletteEntry(title, "action", lambda title=title: done.append(title)) for title in ("Kill broker 1", "Kill broker 2")]
    palette.ask([*entries, PaletteEntry("Restart broker 1", "action", lambda: done.append("no"), reason="broker 1 is in service")])
    qtbot.keyClicks(palette.field, "restart")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert done == []
    assert palette.model.index(0, 0).data(ReasonRole) == "broker 1 is in service"
    palette.field.clear()
    qtbot.keyClicks(palette.field, "kill")
    qtbot.keyClick(palette.field, Qt.Key.Key_Down)
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert done == ["Kill broker 2"]
    assert not palette.isVisible()
