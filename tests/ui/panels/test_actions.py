"""The registry: one action, its reason, its label, its buttons."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from kafkalab.ui.panels.actions import ActionButton, ActionRegistry


def test_an_action_that_cannot_be_done_says_why(qtbot: QtBot) -> None:
    owner = QWidget()
    qtbot.addWidget(owner)
    registry = ActionRegistry(owner)
    reasons = ["broker 2 is killed already"]
    done: list[str] = []
    action = registry.add(
        "node.kill",
        "Kill",
        lambda: done.append("kill"),
        menu="Cluster",
        tip="No goodbye.",
        why_not=lambda: reasons[0],
        label=lambda: "Kill broker 2",
    )
    button = ActionButton(action)
    qtbot.addWidget(button)

    registry.refresh()
    assert not button.isEnabled()
    assert button.toolTip() == "broker 2 is killed already"
    assert button.text() == "Kill broker 2"

    reasons[0] = ""
    registry.refresh()
    assert button.isEnabled()
    assert button.toolTip() == "No goodbye."
    button.click()
    assert done == ["kill"]
    assert registry.in_menu("Cluster") == [action]
