"""Stops a node when the cluster's features have levels that this program cannot work at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kafkalab.engine.common.features import METADATA_VERSION_FEATURE, SUPPORTED_FEATURES
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage

_UNKNOWN: Final = (0, 0)


class FeatureGuard:
    """A publisher that looks at levels only.

    A broker reads what metadata.version says is in the log; of other features it offers what it knows.
    A controller decides by all of them.
    """

    def __init__(self, fail: Callable[[str], None], *, is_controller: bool) -> None:
        """``fail`` is told in a sentence why the node cannot go on."""
        self._fail = fail
        self._is_controller = is_controller

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The image has moved on."""
        for name in delta.changed_features:
            level = image.features.get(name, 0)
            low, high = SUPPORTED_FEATURES.get(name, _UNKNOWN)
            matters = name == METADATA_VERSION_FEATURE or self._is_controller
            if level > 0 and matters and not low <= level <= high:
                self._fail(f"the cluster is at {name} {level}, and this program works at {low} to {high}")
