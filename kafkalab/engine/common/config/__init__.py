"""Settings of brokers and topics: what there is, what may be set, what holds."""

from kafkalab.engine.common.config.broker_config import BrokerConfig, definition_of, nearest_names
from kafkalab.engine.common.config.broker_definitions import BROKER_CONFIGS
from kafkalab.engine.common.config.client_metrics_config import CLIENT_METRICS_CONFIGS, validate_client_metrics_configs
from kafkalab.engine.common.config.definition import (
    ConfigDefinition,
    ConfigError,
    ConfigSource,
    ConfigType,
    ConfigValue,
    UpdateMode,
    to_text,
)
from kafkalab.engine.common.config.describe import (
    ConfigEntry,
    ConfigSynonym,
    broker_config_view,
    client_metrics_view,
    dynamic_default_view,
    group_config_view,
    topic_config_view,
)
from kafkalab.engine.common.config.dynamic import applicable, is_dynamic, validate_dynamic_configs
from kafkalab.engine.common.config.group_config import GROUP_CONFIGS, validate_group_configs
from kafkalab.engine.common.config.properties import parse_key_value, parse_properties
from kafkalab.engine.common.config.topic_config import topic_config_map, topic_config_values, validate_topic_configs
from kafkalab.engine.common.config.topic_definitions import TOPIC_CONFIGS, TOPIC_SYNONYMS

__all__ = [
    "BROKER_CONFIGS",
    "CLIENT_METRICS_CONFIGS",
    "GROUP_CONFIGS",
    "TOPIC_CONFIGS",
    "TOPIC_SYNONYMS",
    "BrokerConfig",
    "ConfigDefinition",
    "ConfigEntry",
    "ConfigError",
    "ConfigSource",
    "ConfigSynonym",
    "ConfigType",
    "ConfigValue",
    "UpdateMode",
    "applicable",
    "broker_config_view",
    "client_metrics_view",
    "definition_of",
    "dynamic_default_view",
    "group_config_view",
    "is_dynamic",
    "nearest_names",
    "parse_key_value",
    "parse_properties",
    "to_text",
    "topic_config_map",
    "topic_config_values",
    "topic_config_view",
    "validate_client_metrics_configs",
    "validate_dynamic_configs",
    "validate_group_configs",
    "validate_topic_configs",
]
