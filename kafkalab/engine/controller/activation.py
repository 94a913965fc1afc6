"""What a controller writes first when it becomes active.

An empty log gets the cluster's features in one metadata transaction, so that nobody sees some of
them without the others. A transaction that the controller before began and did not end is aborted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.features import FINALIZED_AT_FIRST, KRAFT_VERSION_FEATURE
from kafkalab.engine.controller.elections import ELR_FEATURE, MIN_ISR
from kafkalab.engine.metadata.image import METADATA_VERSION_FEATURE, MetadataImage
from kafkalab.engine.protocol.metadata_records import (
    CONFIG_BROKER,
    AbortTransactionRecord,
    BeginTransactionRecord,
    ConfigRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    MetadataRecord,
)

TRANSACTIONS_SINCE: Final = 13
"""The metadata.version from which on nodes know them."""


def feature_records(levels: Mapping[str, int] = FINALIZED_AT_FIRST) -> list[MetadataRecord]:
    """Records that finalize levels: metadata.version first, the others by name; kraft.version is raft's own affair."""
    order = sorted(levels, key=lambda name: (name != METADATA_VERSION_FEATURE, name))
    return [
        FeatureLevelRecord(name=name, feature_level=levels[name]) for name in order if levels[name] > 0 and name != KRAFT_VERSION_FEATURE
    ]


def activation_records(
    image: MetadataImage, config: BrokerConfig, *, bootstrap: Sequence[MetadataRecord], in_transaction: bool
) -> list[MetadataRecord]:
    """What the log needs before anything else, from the present image; nothing where the log is whole."""
    records: list[MetadataRecord] = [AbortTransactionRecord(reason="Controller failover")] if in_transaction else []
    if METADATA_VERSION_FEATURE in image.features:
        return records
    level = next(
        (one.feature_level for one in bootstrap if isinstance(one, FeatureLevelRecord) and one.name == METADATA_VERSION_FEATURE), 0
    )
    has_transactions = level >= TRANSACTIONS_SINCE
    if has_transactions:
        records.append(BeginTransactionRecord(name="Bootstrap records"))
    records += bootstrap
    if any(isinstance(record, FeatureLevelRecord) and record.name == ELR_FEATURE and record.feature_level > 0 for record in bootstrap):
        # All controllers must find the same minimum, whatever their own settings say.
        text = str(config.get_int(MIN_ISR))
        records.append(ConfigRecord(resource_type=CONFIG_BROKER, resource_name="", name=MIN_ISR, value=text))
    return [*records, EndTransactionRecord()] if has_transactions else records
