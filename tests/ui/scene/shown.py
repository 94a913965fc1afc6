"""A view of the scene on screen."""

from __future__ import annotations

from typing import TypeVar

from pytestqt.qtbot import QtBot

from kafkalab.ui.scene.cluster_view import ClusterView
from kafkalab.ui.scene.failover_view import FailoverView
from kafkalab.ui.theme.tokens import DARK, Theme

View = TypeVar("View", ClusterView, FailoverView)


def shown(qtbot: QtBot, view: View, size: tuple[int, int] = (927, 605), theme: Theme = DARK) -> View:
    """Show the view in this size and theme, painted once."""
    qtbot.addWidget(view)
    view.set_theme(theme)
    view.resize(*size)
    view.show()
    qtbot.waitExposed(view)
    view.grab()
    return view
