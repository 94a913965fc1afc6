"""From which metadata.version on the controller may do what (KIP-778): older nodes do not know the records of it."""

from __future__ import annotations

from typing import Final

from kafkalab.engine.common.features import METADATA_VERSION, METADATA_VERSION_FEATURE
from kafkalab.engine.metadata.image import MetadataImage

SCRAM_SINCE: Final = 11
EPOCH_STAYS_ON_SHRINK_SINCE: Final = 12
"""Before, a smaller ISR had to raise the leader epoch (KAFKA-15021)."""
CONTROLLERS_REGISTER_SINCE: Final = 15
DIRECTORIES_SINCE: Final = 17
CORDONED_DIRECTORIES_SINCE: Final = 30


def metadata_version_of(image: MetadataImage) -> int:
    """The cluster's level; this program's own while the log is empty."""
    return image.features.get(METADATA_VERSION_FEATURE, METADATA_VERSION)
