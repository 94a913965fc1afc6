"""Settings from files, command lines and the lab itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafkalab.engine.cluster.settings import node_settings, read_settings
from kafkalab.engine.common.config import ConfigError


@pytest.mark.parametrize(("brokers", "factor"), [(1, "1"), (2, "2"), (3, "3"), (5, "3")])
def test_replication_fits_the_number_of_brokers(brokers: int, factor: str) -> None:
    settings = node_settings({}, brokers)
    assert settings["default.replication.factor"] == factor
    assert settings["offsets.topic.replication.factor"] == factor


def test_what_is_asked_for_wins() -> None:
    assert node_settings({"default.replication.factor": "1"}, 3)["default.replication.factor"] == "1"


def test_an_unknown_key_and_a_wrong_value_are_named() -> None:
    with pytest.raises(ConfigError, match=r"broker\.session\.timout\.ms.*broker\.session\.timeout\.ms"):
        node_settings({"broker.session.timout.ms": "1"}, 3)
    with pytest.raises(ConfigError, match=r"min\.insync\.replicas"):
        node_settings({"min.insync.replicas": "none"}, 3)


def test_a_pair_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("# sample\nnode.id=1\nlisteners=PLAINTEXT://:9092\nnum.partitions=4\nmin.insync.replicas = 2\n")
    assert read_settings(["num.partitions=6"], file) == {"num.partitions": "6", "min.insync.replicas": "2"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.properties cannot be read"):
        read_settings([], tmp_path / "nothing.properties")
