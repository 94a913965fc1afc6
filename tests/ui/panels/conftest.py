"""Models with a story in them, and a window's parts without the window."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.selection import Selection
from tests.support import telemetry_samples as samples


@pytest.fixture
def model() -> ClusterModel:
    """An empty model."""
    return ClusterModel()


@pytest.fixture
def healthy(model: ClusterModel) -> samples.SampleCluster:
    """A healthy cluster, five seconds old, in ``model``."""
    return samples.running(model)


@pytest.fixture
def broken(model: ClusterModel) -> samples.SampleCluster:
    """The moment of the design's pictures, in ``model``: broker 2 was killed four seconds ago."""
    return samples.picture(model)


@pytest.fixture
def selection(qtbot: QtBot) -> Selection:
    """Nothing is selected yet."""
    return Selection()


@pytest.fixture
def registry(qtbot: QtBot) -> Iterator[ActionRegistry]:
    """The actions that panels ask for; they note that they were done."""
    owner = QWidget()
    qtbot.addWidget(owner)
    made = ActionRegistry(owner)
    for name in ("node.kill", "node.stop", "node.pause", "node.restart", "topic.create", "topic.delete", "topic.show"):
        made.add(name, name, lambda: None)
    for name in ("link.isolate", "link.heal", "link.heal_all", "link.cut", "partition.elect", "partition.reassign"):
        made.add(name, name, lambda: None)
    for name in ("group.show", "clients.show", "traffic.start", "traffic.toggle"):
        made.add(name, name, lambda: None)
    yield made
    owner.close()
