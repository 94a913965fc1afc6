"""Dialogs say inline what is wrong, and stay open until the cluster has answered."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pytestqt.qtbot import QtBot

from kafkalab.ui.dialogs.create_topic import CreateTopicDialog, name_fault, parse_configs
from kafkalab.ui.dialogs.delete_topic import DeleteTopicDialog


@pytest.mark.parametrize("name", ["orders", "a.b-c_d", "x" * 249])
def test_good_names(name: str) -> None:
    assert name_fault(name, {"clicks"}) == ""


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("", "empty string"),
        (".", "not allowed"),
        ("x" * 250, "249"),
        ("my topic", "other than"),
        ("clicks", "exists already"),
        ("a_b", "a.b"),
    ],
)
def test_bad_names_are_told(name: str, part: str) -> None:
    assert part in name_fault(name, {"clicks", "a.b"})


def test_configs_are_lines() -> None:
    assert parse_configs("# remark\n\nretention.ms = 5 \n") == ({"retention.ms": "5"}, "")
    assert "Line 2" in parse_configs("a=b\nnonsense")[1]


def _check(configs: Mapping[str, str]) -> str:
    return "" if "retention.ms" in configs else "unknown key"


def test_a_topic_is_asked_for_once_and_a_refusal_can_be_mended(qtbot: QtBot) -> None:
    dialog = CreateTopicDialog(None, existing=["orders"], brokers=3, check_configs=_check)
    qtbot.addWidget(dialog)
    asked: list[tuple[object, ...]] = []
    dialog.submitted.connect(lambda *what: asked.append(what))
    dialog.submit()
    assert asked == []
    dialog.set_values(name="clicks", partitions=6, replication_factor=2, configs="nonsense=1")
    assert dialog.fault() == "unknown key"
    dialog.submit()
    assert asked == []
    dialog.set_values(name="clicks", partitions=6, replication_factor=2, configs="retention.ms=1")
    dialog.submit()
    dialog.submit()
    assert asked == [("clicks", 6, 2, {"retention.ms": "1"})]
    dialog.refused("INVALID_REPLICATION_FACTOR: …")
    dialog.submit()
    assert len(asked) == 2


def test_deletion_wants_the_name(qtbot: QtBot) -> None:
    dialog = DeleteTopicDialog(None, "orders", ["3 partitions"])
    qtbot.addWidget(dialog)
    asked: list[str] = []
    dialog.submitted.connect(asked.append)
    dialog.field.setText("order")
    dialog.submit()
    assert asked == []
    dialog.field.setText("orders")
    dialog.submit()
    assert asked == ["orders"]
