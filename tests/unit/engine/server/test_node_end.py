"""How a node ends: in order, and killed on the way; and how it pauses."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

import pytest

from kafkalab import Lab
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.server import node
from kafkalab.engine.server.node import NodeRunner

WAIT_S = 20.0


def test_clients_of_a_node_that_stops_do_not_wait_for_its_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    was_hung_up: list[bool] = []
    close = LogManager.close

    def close_slowly(manager: LogManager, broker_epoch: int) -> None:
        # The disk is as slow as the client: it is ready when that one has heard that the node goes.
        try:
            was_hung_up.append(client.recv(1) == b"")
        except TimeoutError:
            was_hung_up.append(False)
        close(manager, broker_epoch)

    with Lab(brokers=1, controllers=1, combined=True) as lab:
        host, _, port = lab.bootstrap_servers.rpartition(":")
        with socket.create_connection((host, int(port)), WAIT_S) as client:
            monkeypatch.setattr(LogManager, "close", close_slowly)
            lab.stop(1)
    assert was_hung_up == [True]


def test_a_node_that_writes_its_logs_down_is_waited_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    is_told = threading.Event()
    close = LogManager.close

    def close_slowly(manager: LogManager, broker_epoch: int) -> None:
        assert is_told.wait(WAIT_S)
        close(manager, broker_epoch)

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "still writing" in record.getMessage():
                is_told.set()

    handler = Listening()
    logger = logging.getLogger("kafkalab.engine.server.node")
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    try:
        with Lab(brokers=1, controllers=1, combined=True) as lab:
            monkeypatch.setattr(LogManager, "close", close_slowly)
            lab.stop(1, timeout=2.0)
    finally:
        logger.removeHandler(handler)
    assert is_told.is_set()
    assert "is killed" not in caplog.text


@pytest.mark.expects_warnings  # it does not stop in time
def test_a_node_that_is_killed_while_it_closes_its_files_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    is_killed = threading.Event()
    close, post = LogManager.close, NodeRunner._post

    def close_too_slowly(manager: LogManager, broker_epoch: int) -> None:
        assert is_killed.wait(WAIT_S)
        close(manager, broker_epoch)

    def tell(runner: NodeRunner, callback: Callable[[], None]) -> None:
        post(runner, callback)
        if callback == runner._die:
            is_killed.set()

    uncaught: list[object] = []
    with Lab(brokers=1, controllers=1, combined=True) as lab:
        monkeypatch.setattr(LogManager, "close", close_too_slowly)
        monkeypatch.setattr(node, "FILES_WAIT_S", 0.1)
        monkeypatch.setattr(NodeRunner, "_post", tell)
        monkeypatch.setattr(threading, "excepthook", uncaught.append)
        lab.stop(1, timeout=2.0)
        assert is_killed.is_set()
        lab.restart(1)
        lab.wait_until_healthy()
        is_killed.set()
    assert uncaught == []


def test_who_has_paused_a_node_sees_nothing_more_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    post = NodeRunner._post
    is_told = threading.Event()
    was_told_first: list[bool] = []

    def post_behind_work(runner: NodeRunner, callback: Callable[[], None]) -> None:
        # The node has something to do when the order comes, and is not through with it.
        post(runner, lambda: was_told_first.append(is_told.wait(0.2)))
        post(runner, callback)

    with Lab(brokers=1, controllers=1, combined=True) as lab:
        with monkeypatch.context() as patch:
            patch.setattr(NodeRunner, "_post", post_behind_work)
            lab.pause(1)
            is_told.set()
        lab.resume(1)
        lab.wait_until_healthy()
    assert was_told_first == [False]
