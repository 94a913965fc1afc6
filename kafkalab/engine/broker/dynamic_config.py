"""Brings the settings that the metadata has for a node into the ones that it goes by (KIP-226)."""

from __future__ import annotations

import logging

from kafkalab.engine.common.config import BrokerConfig, ConfigError, applicable
from kafkalab.engine.metadata.image import CONFIG_BROKER, MetadataDelta, MetadataImage

log = logging.getLogger(__name__)


class DynamicConfig:
    """A metadata publisher. It stands before those who act on metadata: they see settings that are in force."""

    def __init__(self, node_id: int, config: BrokerConfig) -> None:
        self._node_id = node_id
        self._config = config

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Take over what was set for all brokers, or for this node."""
        names = ("", str(self._node_id))
        if not any(resource.type == CONFIG_BROKER and resource.name in names for resource in delta.changed_configs):
            return
        dynamic_default = applicable(image.config(CONFIG_BROKER, ""), per_broker=False)
        dynamic = applicable(image.config(CONFIG_BROKER, str(self._node_id)), per_broker=True)
        try:
            changed = self._config.apply_dynamic(dynamic_default, dynamic)
        except ConfigError as error:
            # It was checked when it was set, by a node whose own settings may be others.
            log.error("node %d: the settings in the metadata cannot be applied: %s", self._node_id, error)
        else:
            if changed:
                log.info("node %d: settings changed: %s", self._node_id, ", ".join(sorted(changed)))
