"""Dialogs that ask for figures: what they do, what they say for a script, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytestqt.qtbot import QtBot

from kafkalab.ui.bridge.fault_commands import Deed, Deeds
from kafkalab.ui.dialogs.deeds import ALL_OTHERS, DeedDialog, JumpClockDialog, LinkFaultDialog, ReassignDialog
from kafkalab.ui.model.faults import CLIENTS
from kafkalab.ui.model.links import Link
from tests.ui.window.fakes import NotingHost

PARTIES = [(101, "controller 101"), (1, "broker 1"), (2, "broker 2")]


@pytest.fixture
def deeds() -> Deeds:
    return Deeds(lambda node_id: f"{'controller' if node_id > 100 else 'broker'} {node_id}")


def _asked(deed: Deed) -> tuple[object, ...]:
    host = NotingHost()
    deed.act(host)
    return host.asked[0]


@pytest.mark.parametrize(
    ("make", "text", "python", "asked"),
    [
        (lambda d: d.isolate(2), "Isolate broker 2 from all other nodes", "lab.isolate(2)", ("isolate", 2, None)),
        (lambda d: d.isolate(2, CLIENTS), "Isolate broker 2 from clients", "lab.isolate(2, 'clients')", ("isolate", 2, "clients")),
        (lambda d: d.cut(CLIENTS, 1), "Cut what clients send to broker 1", "lab.cut('clients', 1)", ("cut", "clients", 1)),
        (
            lambda d: d.delay(1, 2, 100, 20, one_way=True),
            "Delay from broker 1 to broker 2 by 100 ms",
            "lab.delay(1, 2, 100, 20, one_way=True)",
            ("delay", 1, 2, 100, 20, True),
        ),
        (
            lambda d: d.lose(1, 101, 0.1, one_way=False),
            "Lose 10 % between broker 1 and controller 101",
            "lab.lose(1, 101, 0.1)",
            ("lose", 1, 101, 0.1, False),
        ),
        (
            lambda d: d.slow(1, 2, 9_000_000, one_way=False),
            "Slow between broker 1 and broker 2 down to 9000000 bytes/s",
            "lab.slow(1, 2, 9000000)",
            ("slow", 1, 2, 9_000_000, False),
        ),
        (lambda d: d.heal(), "Heal all links", "lab.heal()", ("heal", None, None)),
        (lambda d: d.heal(2), "Heal the links of broker 2", "lab.heal(2)", ("heal", 2, None)),
        (lambda d: d.heal(2, 1), "Heal the link between broker 2 and broker 1", "lab.heal(2, 1)", ("heal", 2, 1)),
        (lambda d: d.jump_clock(1, -30), "Set the clock of broker 1 back by 30 s", "lab.jump_clock(1, -30)", ("jump_clock", 1, -30)),
        (lambda d: d.elect(), "Elect preferred leaders", "lab.elect_leaders()", ("elect_leaders", None, False)),
        (
            lambda d: d.elect("orders", 0, unclean=True),
            "Elect any leader of orders-0",
            "lab.elect_leaders('orders', 0, unclean=True)",
            ("elect_leaders", [("orders", 0)], True),
        ),
        (
            lambda d: d.reassign("orders", 0, (3, 1)),
            "Move orders-0 to 3, 1",
            "lab.reassign('orders', 0, [3, 1])",
            ("reassign", "orders", 0, [3, 1]),
        ),
        (
            lambda d: d.reassign("orders", 0, None),
            "Take the move of orders-0 back",
            "lab.reassign('orders', 0, None)",
            ("reassign", "orders", 0, None),
        ),
    ],
)
def test_a_deed_says_and_does_the_same(
    deeds: Deeds, make: Callable[[Deeds], Deed], text: str, python: str, asked: tuple[object, ...]
) -> None:
    deed = make(deeds)
    assert (deed.text, deed.python) == (text, python)
    assert _asked(deed) == asked


def test_the_python_that_is_shown_is_what_the_lab_offers(deeds: Deeds) -> None:
    from kafkalab.engine.cluster.lab import Lab

    said: list[tuple[object, ...]] = []

    class Said(Lab):
        def __init__(self) -> None: ...

        def __getattribute__(self, name: str) -> object:
            assert hasattr(Lab, name), f"a script cannot say lab.{name}"
            return lambda *args, **named: said.append((name, args, named))

    for deed in (
        deeds.isolate(2),
        deeds.cut(1, 2),
        deeds.delay(1, 2, 5, 1, one_way=True),
        deeds.lose(1, 2, 0.5, one_way=False),
        deeds.slow(1, 2, 5, one_way=False),
        deeds.heal(1, CLIENTS),
        deeds.jump_clock(1, 5),
        deeds.elect("orders", 1),
        deeds.reassign("orders", 1, [1]),
    ):
        eval(deed.python, {"lab": Said()})
    assert len(said) == 9


def test_isolating_offers_everybody_else(qtbot: QtBot, deeds: Deeds) -> None:
    dialog = LinkFaultDialog(None, "isolate", deeds, PARTIES, 2)
    qtbot.addWidget(dialog)
    assert (dialog.a, dialog.b) == (2, ALL_OTHERS)
    assert dialog.python() == "lab.isolate(2)"
    dialog.set_values(b=CLIENTS)
    assert dialog.python() == "lab.isolate(2, 'clients')"
    # Clients are not isolated from one another, nor a node from itself.
    dialog.set_values(a=CLIENTS)
    assert dialog.a == CLIENTS and dialog.b in (101, 1, 2)


def test_figures_have_defaults_and_bounds(qtbot: QtBot, deeds: Deeds) -> None:
    delay = LinkFaultDialog(None, "delay", deeds, PARTIES, 1, 2)
    lose = LinkFaultDialog(None, "lose", deeds, PARTIES, 1, 2)
    slow = LinkFaultDialog(None, "slow", deeds, PARTIES, 1, 2)
    for dialog in (delay, lose, slow):
        qtbot.addWidget(dialog)
    assert delay.python() == "lab.delay(1, 2, 100)"
    delay.set_values(ms=-5, jitter=10, one_way=True)
    assert delay.python() == "lab.delay(1, 2, 1, 10, one_way=True)"
    assert lose.python() == "lab.lose(1, 2, 0.1)"
    lose.set_values(percent=400)
    assert lose.python() == "lab.lose(1, 2, 1)"
    assert slow.python() == "lab.slow(1, 2, 10000)"


def test_a_dialog_waits_for_the_answer(qtbot: QtBot, deeds: Deeds) -> None:
    dialog = LinkFaultDialog(None, "cut", deeds, PARTIES, 1, 2)
    qtbot.addWidget(dialog)
    asked: list[Deed] = []
    dialog.submitted.connect(asked.append)
    dialog.submit()
    dialog.submit()
    assert [deed.link for deed in asked] == [Link.between(1, 2)], "once, however often it is clicked"
    dialog.refused("There is no node 2")
    dialog.submit()
    assert len(asked) == 2


def test_a_clock_goes_back_to_right_by_default(qtbot: QtBot, deeds: Deeds) -> None:
    dialog = JumpClockDialog(None, deeds, 1, "broker 1", 30.0)
    qtbot.addWidget(dialog)
    assert dialog.python() == "lab.jump_clock(1, -30)"
    dialog.set_seconds(0)
    assert dialog.fault() == "It would not move." and not dialog.python()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "At least one replica is needed."),
        ("1, x", "x is no broker's id."),
        ("1, -2", "-2 is no broker's id."),
        ("1, 9", "There is no broker 9."),
        ("2 2", "Each broker can have one replica only."),
        ("1, 2", "That is where they are."),
        ("2, 3", ""),
    ],
)
def test_replicas_are_checked_while_they_are_typed(qtbot: QtBot, deeds: Deeds, text: str, fault: str) -> None:
    dialog: DeedDialog = ReassignDialog(None, deeds, "orders", 0, (1, 2), {1, 2, 3})
    qtbot.addWidget(dialog)
    assert isinstance(dialog, ReassignDialog)
    dialog.set_replicas(text)
    assert dialog.fault() == fault
    assert dialog.python() == ("" if fault else "lab.reassign('orders', 0, [2, 3])")
