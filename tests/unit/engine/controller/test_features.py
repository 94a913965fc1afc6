"""Levels of features are raised and lowered (KIP-584, KIP-778, KIP-1022)."""

from __future__ import annotations

from typing import Any

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.features import SUPPORTED_FEATURES
from kafkalab.engine.controller.activation import activation_records, feature_records
from kafkalab.engine.metadata.image import MetadataImage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.metadata_records import BeginTransactionRecord, FeatureLevelRecord, MetadataRecord, NoOpRecord
from tests.unit.engine.controller.harness import ControllerHarness

UPGRADE, SAFE, UNSAFE = 1, 2, 3
WIDE = [{"name": name, "min_supported_version": low, "max_supported_version": high} for name, (low, high) in SUPPORTED_FEATURES.items()]


def update(lab: ControllerHarness, *updates: tuple[str, int, int], version: int = 2, validate_only: bool = False) -> Any:
    body = {
        "timeout": 1_000,
        "feature_updates": [{"feature": name, "max_version_level": level, "upgrade_type": kind} for name, level, kind in updates],
        "validate_only": validate_only,
    }
    request = codec.decode_request(ApiKey.UPDATE_FEATURES, version, codec.encode_request_body(ApiKey.UPDATE_FEATURES, version, body))
    answers: list[Any] = []

    def respond(response: Any) -> None:
        encoded = codec.encode_response_body(ApiKey.UPDATE_FEATURES, version, response)
        answers.append(codec.decode_response(ApiKey.UPDATE_FEATURES, version, encoded))

    lab.controller.handle_update_features(request, respond, version=version)
    (answer,) = answers
    return answer


def refusal(lab: ControllerHarness, *updates: tuple[str, int, int]) -> str:
    before = dict(lab.image.features)
    answer = update(lab, *updates)
    assert answer.error_code == Errors.INVALID_UPDATE_VERSION
    assert lab.image.features == before
    prefix = "The update failed for all features since the following feature had an error: "
    assert answer.error_message.startswith(prefix)
    return str(answer.error_message.removeprefix(prefix))


@pytest.fixture
def lab() -> ControllerHarness:
    return ControllerHarness(elr=False)


def test_levels_go_up_and_down_together(lab: ControllerHarness) -> None:
    answer = update(lab, ("group.version", 1, UPGRADE), ("transaction.version", 2, UPGRADE))
    assert (answer.error_code, answer.error_message) == (Errors.NONE, None)
    assert lab.image.features == {"metadata.version": 30, "group.version": 1, "transaction.version": 2}
    assert update(lab, ("group.version", 0, SAFE), ("transaction.version", 1, SAFE)).error_code == Errors.NONE
    assert lab.image.features == {"metadata.version": 30, "transaction.version": 1}


def test_one_that_cannot_be_keeps_back_all(lab: ControllerHarness) -> None:
    assert "group.version. Local controller 1 only supports versions 0-1" in refusal(
        lab, ("transaction.version", 2, UPGRADE), ("group.version", 9, UPGRADE)
    )


def test_to_validate_changes_nothing(lab: ControllerHarness) -> None:
    appends = len(lab.raft.appends)
    assert update(lab, ("group.version", 1, UPGRADE), ("kraft.version", 1, UPGRADE), validate_only=True).error_code == Errors.NONE
    assert len(lab.raft.appends) == appends and lab.raft.kraft_version == 0


def test_old_versions_have_results_by_feature(lab: ControllerHarness) -> None:
    answer = update(lab, ("group.version", 1, UPGRADE), version=1)
    assert [(one.feature, one.error_code) for one in answer.results] == [("group.version", Errors.NONE)]
    assert not update(lab, ("group.version", 7, UPGRADE), version=1).results


@pytest.mark.parametrize(
    ("name", "level", "kind", "why"),
    [
        ("group.version", 1, 9, "The controller does not support the given upgrade type."),
        ("group.version", -1, UPGRADE, "A feature version cannot be less than 0."),
        ("no.such", 1, UPGRADE, "Local controller 1 does not support this feature."),
        ("group.version", 1, SAFE, "Can't downgrade to a newer version."),
        ("metadata.version", 31, UPGRADE, "Local controller 1 only supports versions 7-30"),
        (
            "metadata.version",
            29,
            UPGRADE,
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        ),
    ],
)
def test_what_cannot_be_is_said(lab: ControllerHarness, name: str, level: int, kind: int, why: str) -> None:
    assert refusal(lab, (name, level, kind)) == f"Invalid update version {level} for feature {name}. {why}"


def test_metadata_is_not_lost_by_going_back(lab: ControllerHarness) -> None:
    safe = refusal(lab, ("metadata.version", 29, SAFE))
    assert safe == (
        "Unsupported metadata.version downgrade from 30 to 29. "
        "Refusing to perform the requested downgrade because it might delete metadata information."
    )
    unsafe = refusal(lab, ("metadata.version", 29, UNSAFE))
    assert unsafe.endswith("Unsafe metadata downgrade is not supported in this version.")


def test_metadata_version_goes_back_where_nothing_came_with_it() -> None:
    lab = ControllerHarness(elr=False, start=False)
    lab.controller._bootstrap = feature_records({"metadata.version": 29})
    lab.lead()
    assert update(lab, ("metadata.version", 27, SAFE)).error_code == Errors.NONE
    assert lab.image.features["metadata.version"] == 27
    assert update(lab, ("metadata.version", 30, UPGRADE)).error_code == Errors.NONE


def test_every_broker_and_controller_must_support_it(lab: ControllerHarness) -> None:
    narrow = [one for one in WIDE if one["name"] != "group.version"]
    lab.register(5, features=narrow)
    assert refusal(lab, ("group.version", 1, UPGRADE)).endswith("Broker 5 does not support this feature.")
    lab.raft.voter_ids = frozenset({1, 2})
    assert refusal(lab, ("transaction.version", 2, UPGRADE)).endswith("controller 2 has not registered, and may not support this feature")


def test_kraft_version_is_raised_by_raft(lab: ControllerHarness) -> None:
    assert update(lab, ("kraft.version", 1, UPGRADE)).error_code == Errors.NONE
    assert lab.raft.kraft_version == 1
    assert isinstance(lab.raft.appends[-1][-1], NoOpRecord), "there is something to wait for"
    assert "kraft.version" not in lab.image.features
    assert refusal(lab, ("kraft.version", 0, SAFE)).endswith("Can't downgrade the version of this feature.")


def test_what_raft_refuses_is_refused(lab: ControllerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(epoch: int, level: int, *, validate_only: bool) -> None:
        raise ApiError(Errors.INVALID_UPDATE_VERSION, "not all of the voters support it")

    monkeypatch.setattr(lab.raft, "upgrade_kraft_version", refuse)
    assert refusal(lab, ("group.version", 1, UPGRADE), ("kraft.version", 1, UPGRADE)) == "not all of the voters support it"


def test_eligible_leaders_need_one_minimum_for_all(lab: ControllerHarness) -> None:
    body = {
        "resources": [
            {"resource_type": 4, "resource_name": "1", "configs": [{"name": "min.insync.replicas", "config_operation": 0, "value": "2"}]}
        ],
        "validate_only": False,
    }
    lab.register(1)
    lab.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, body)
    assert lab.image.config(4, "1") == {"min.insync.replicas": "2"}
    assert update(lab, ("eligible.leader.replicas.version", 1, UPGRADE)).error_code == Errors.NONE
    assert lab.image.config(4, "") == {"min.insync.replicas": "1"}
    assert lab.image.config(4, "1") == {}


def test_a_follower_refuses(lab: ControllerHarness) -> None:
    lab.resign()
    assert update(lab, ("group.version", 1, UPGRADE)).error_code == Errors.NOT_CONTROLLER


def test_an_old_metadata_version_begins_without_a_transaction() -> None:
    def records(level: int) -> list[MetadataRecord]:
        lab = ControllerHarness(start=False)
        bootstrap = [FeatureLevelRecord(name="metadata.version", feature_level=level)]
        return activation_records(MetadataImage(), lab.controller._config, bootstrap=bootstrap, in_transaction=False)

    assert records(12) == [FeatureLevelRecord(name="metadata.version", feature_level=12)]
    assert isinstance(records(13)[0], BeginTransactionRecord)


def test_a_single_level_is_said_as_one_and_no_error_in_kafkas_word(lab: ControllerHarness) -> None:
    ranges = [
        {"name": "metadata.version", "min_supported_version": 7, "max_supported_version": 30},
        {"name": "group.version", "min_supported_version": 1, "max_supported_version": 1},
    ]
    (answer,) = update(lab, ("group.version", 1, UPGRADE), version=1).results
    assert (answer.feature, answer.error_code, answer.error_message) == ("group.version", Errors.NONE, "NONE")
    assert lab.register(1, features=ranges).error_code == Errors.NONE
    assert refusal(lab, ("group.version", 0, SAFE)).endswith("Broker 1 only supports versions 1")
