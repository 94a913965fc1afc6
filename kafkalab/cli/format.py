"""``kafkalab format``: prepares a node's directories, with the flags and the words of Kafka's ``kafka-storage format``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final

from kafkalab.engine.common.config import BrokerConfig, ConfigError, parse_properties
from kafkalab.engine.common.ids import random_uuid, uuid_to_text
from kafkalab.engine.common.metadata_versions import MetadataVersion, metadata_version_named, names_of_metadata_versions
from kafkalab.engine.log.storage import FileStorage, StorageError
from kafkalab.engine.metadata.scram_arguments import parse_scram_argument
from kafkalab.engine.protocol.metadata_records import UserScramCredentialRecord
from kafkalab.engine.raft.initial_voters import parse_initial_voters
from kafkalab.engine.raft.voters import VoterSet
from kafkalab.engine.server.formatter import FormatError, Formatter

SALT_BYTES: Final = 16
_READ_KEYS: Final = (
    "advertised.listeners",
    "broker.id",
    "controller.listener.names",
    "controller.quorum.voters",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
    "process.roles",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """The command line."""

    cluster_id: str
    config: Path
    standalone: bool = False
    no_initial_controllers: bool = False
    initial_controllers: str | None = None
    ignore_formatted: bool = False
    features: tuple[str, ...] = ()
    release_version: str | None = None
    scram: tuple[str, ...] = ()


def run(options: FormatOptions, *, tell: Callable[[str], None], complain: Callable[[str], None]) -> int:
    """Format; the exit status."""
    try:
        formatter = _formatter(options)
        formatter.run(FileStorage(), rng=SystemRandom(), wall_ms=int(time.time() * 1000), tell=tell)
    except (FormatError, ConfigError, StorageError) as error:
        complain(str(error))
        return 1
    return 0


def random_uuid_text() -> str:
    """A new id, as ``kafka-storage random-uuid`` prints one."""
    return uuid_to_text(random_uuid(SystemRandom()))


def _formatter(options: FormatOptions) -> Formatter:
    chosen = [
        name
        for name, is_given in (
            ("--standalone/-s", options.standalone),
            ("--no-initial-controllers/-N", options.no_initial_controllers),
            ("--initial-controllers/-I", options.initial_controllers is not None),
        )
        if is_given
    ]
    if len(chosen) > 1:
        raise FormatError(f"argument {chosen[1]}: not allowed with argument {chosen[0]}")
    settings = _settings(options.config)
    roles = settings.get_list("process.roles")
    if not roles:
        message = (
            "The kafka configuration file appears to be for a legacy cluster. Formatting is only supported for clusters in KRaft mode."
        )
        raise FormatError(message)
    node_id = max(settings.get_int("node.id"), settings.get_int("broker.id"))
    if node_id < 0:
        raise FormatError("You must specify a valid non-negative node ID.")
    names = settings.get_list("controller.listener.names")
    if not names:
        raise FormatError("You must specify the name of the initial controller listener.")
    has_static_voters = bool(settings.get_list("controller.quorum.voters"))
    directories = _directories(settings)
    return Formatter(
        cluster_id=options.cluster_id,
        node_id=node_id,
        directories=directories,
        metadata_directory=_metadata_directory(settings, directories),
        release=_release(options.release_version),
        feature_levels=_feature_levels(options.features),
        has_dynamic_quorum=not has_static_voters,
        initial_voters=_initial_voters(options, settings, names[0].upper(), node_id, roles, has_static_voters=has_static_voters),
        scram=[_scram(text) for text in options.scram],
        ignore_formatted=options.ignore_formatted,
    )


def _settings(path: Path) -> BrokerConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    # What else a server.properties says is the node's affair when it starts.
    properties = parse_properties(text, str(path))
    return BrokerConfig({key: properties[key] for key in _READ_KEYS if key in properties})


def _directories(settings: BrokerConfig) -> list[Path]:
    # Written as the settings have it: what is printed is what was asked for.
    directories = [Path(one) for one in settings.get_list("log.dirs") or settings.get_list("log.dir")]
    metadata = settings.get_string("metadata.log.dir")
    return directories if not metadata else [*directories, Path(metadata)]


def _metadata_directory(settings: BrokerConfig, directories: Sequence[Path]) -> Path:
    metadata = settings.get_string("metadata.log.dir")
    return Path(metadata) if metadata else directories[0]


def _release(text: str | None) -> MetadataVersion | None:
    if text is None:
        return None
    release = metadata_version_named(text)
    if release is None:
        raise FormatError(f"Unknown metadata.version '{text}'. Supported metadata.version are: {names_of_metadata_versions()}")
    return release


def _feature_levels(texts: Sequence[str]) -> Mapping[str, int]:
    levels: dict[str, int] = {}
    for text in texts:
        name, equals, level = text.partition("=")
        if not equals:
            raise FormatError(f"Can't parse feature=level string {text}: equals sign not found.")
        try:
            levels[name.strip()] = int(level)
        except ValueError:
            raise FormatError(f"Can't parse feature=level string {text}: unable to parse {level} as a short.") from None
    return levels


def _initial_voters(
    options: FormatOptions, settings: BrokerConfig, listener_name: str, node_id: int, roles: Sequence[str], *, has_static_voters: bool
) -> VoterSet | None:
    is_controller = "controller" in roles
    if has_static_voters and (options.initial_controllers is not None or options.standalone):
        raise FormatError(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. "
            "If you want to use dynamic quorum, please remove controller.quorum.voters and specify "
            "controller.quorum.bootstrap.servers instead."
        )
    try:
        if options.initial_controllers is not None:
            return parse_initial_voters(options.initial_controllers, listener_name)
        if options.standalone:
            if not is_controller:
                raise FormatError("You can only use --standalone on a controller.")
            host, port = _controller_address(settings, listener_name)
            shown_host = f"[{host}]" if ":" in host else host
            return parse_initial_voters(f"{node_id}@{shown_host}:{port}:{random_uuid_text()}", listener_name)
    except ValueError as error:
        raise FormatError(str(error)) from error
    if is_controller and not has_static_voters and not options.no_initial_controllers:
        raise FormatError(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the following: "
            "--standalone, --initial-controllers, or --no-initial-controllers."
        )
    return None


def _controller_address(settings: BrokerConfig, listener_name: str) -> tuple[str, int]:
    for key in ("advertised.listeners", "listeners"):
        for listener in settings.get_list(key):
            name, _, address = listener.partition("://")
            if name.strip().upper() == listener_name:
                host, _, port = address.rpartition(":")
                host = host.strip("[]")
                return host or "localhost", int(port)
    raise FormatError("No controller listeners found.")


def _scram(text: str) -> UserScramCredentialRecord:
    try:
        return parse_scram_argument(text, random_salt=os.urandom(SALT_BYTES))
    except ValueError as error:
        raise FormatError(str(error)) from error
