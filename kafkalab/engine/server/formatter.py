"""Formats the directories of a node, so that a node, ours or Kafka's, can start on them (KIP-631, KIP-853).

Every directory gets ``meta.properties`` and ``bootstrap.checkpoint``. The directory with the metadata
log also gets a first snapshot where the first voters are told: what it says is in force before the
log has its first record. Directories that are formatted are left as they are.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kafkalab.engine.common.features import (
    FEATURE_ORDER,
    KRAFT_VERSION_FEATURE,
    METADATA_VERSION_FEATURE,
    SUPPORTED_FEATURES,
    default_level,
    unmet_dependency,
)
from kafkalab.engine.common.ids import METADATA_PARTITION, random_uuid
from kafkalab.engine.common.metadata_versions import METADATA_VERSIONS, MetadataVersion, metadata_version
from kafkalab.engine.log.meta_properties import META_PROPERTIES_FILE, MetaProperties
from kafkalab.engine.log.storage import Storage, StorageError
from kafkalab.engine.metadata.bootstrap import BOOTSTRAP_FILE, bootstrap_file_content
from kafkalab.engine.protocol.metadata_records import FeatureLevelRecord, MetadataRecord, UserScramCredentialRecord
from kafkalab.engine.raft.snapshot_records import snapshot_bytes
from kafkalab.engine.raft.snapshot_store import SnapshotId
from kafkalab.engine.raft.voter_history import voters_value
from kafkalab.engine.raft.voters import VoterSet
from kafkalab.engine.record.control import ControlType
from kafkalab.engine.record.quorum_records import encode_kraft_version

if TYPE_CHECKING:
    from random import Random

SCRAM_SINCE: Final = 11
BOOTSTRAP_SNAPSHOT: Final = SnapshotId(epoch=0, end_offset=0)


class FormatError(Exception):
    """The directories cannot be formatted so; the sentence is for a person."""


class DirectoryType(Enum):
    """What a directory is for, in the words of Kafka's tool."""

    LOG = "data directory"
    STATIC_METADATA = "metadata directory"
    DYNAMIC_METADATA = "dynamic metadata directory"
    DYNAMIC_METADATA_VOTER = "dynamic metadata voter directory"

    @property
    def has_voters(self) -> bool:
        return self in (DirectoryType.DYNAMIC_METADATA, DirectoryType.DYNAMIC_METADATA_VOTER)


@dataclass(slots=True, kw_only=True)
class Formatter:
    """What is to be in the directories; :meth:`run` puts it there."""

    cluster_id: str
    node_id: int
    directories: Sequence[Path]
    metadata_directory: Path
    release: MetadataVersion | None = None
    feature_levels: Mapping[str, int] = field(default_factory=dict)
    has_dynamic_quorum: bool = False
    """There are no static voters."""
    initial_voters: VoterSet | None = None
    scram: Sequence[UserScramCredentialRecord] = ()
    ignore_formatted: bool = False

    def run(self, storage: Storage, *, rng: Random, wall_ms: int, tell: Callable[[str], None]) -> None:
        """Write it all. ``tell`` gets a line for each thing done.

        :raises FormatError: when it cannot be.
        """
        release, levels = self._levels()
        records = self._bootstrap_records(release, levels)
        found, broken = self._look(storage, tell)
        if found and not self.ignore_formatted:
            raise FormatError(
                f"Log directory {next(iter(found))} is already formatted. "
                "Use --ignore-formatted to ignore this directory and format the others."
            )
        empty = [path for path in sorted(set(self.directories)) if path not in found and path not in broken]
        if not empty and not found:
            raise FormatError("No available log directories to format.")
        if not empty:
            tell("All of the log directories are already formatted.")
            return
        tell(f"Bootstrap metadata: {_shown(records, release)}")
        for path in empty:
            kind = self._type_of(path)
            tell(f"Formatting {kind.value} {path} with {METADATA_VERSION_FEATURE} {release.name}.")
            try:
                self._write(storage, path, kind, records, levels[KRAFT_VERSION_FEATURE], rng=rng, wall_ms=wall_ms)
            except OSError as error:
                raise FormatError(f"Error while writing meta.properties file {path}: {error.strerror or error}") from error

    # --- what is to be written -----------------------------------------------------------------

    def _levels(self) -> tuple[MetadataVersion, dict[str, int]]:
        levels = dict(self.feature_levels)
        if METADATA_VERSION_FEATURE in levels:
            if self.release is not None:
                message = f"Use --release-version instead of --feature {METADATA_VERSION_FEATURE}=X to avoid ambiguity."
                raise FormatError(message)
            release = metadata_version(levels[METADATA_VERSION_FEATURE])
            if release is None:
                lowest, newest = METADATA_VERSIONS[0].level, METADATA_VERSIONS[-1].level
                raise FormatError(
                    f"No MetadataVersion with feature level {levels[METADATA_VERSION_FEATURE]}. "
                    f"Valid feature levels are from {lowest} to {newest}."
                )
        else:
            release = self.release or METADATA_VERSIONS[-1]
        for name in levels:
            if name != METADATA_VERSION_FEATURE and name not in FEATURE_ORDER:
                raise FormatError(f"Unsupported feature: {name}. Supported features are: {', '.join(sorted(FEATURE_ORDER))}")
        levels[METADATA_VERSION_FEATURE] = release.level
        for name in FEATURE_ORDER:
            if name == KRAFT_VERSION_FEATURE:
                levels[name] = self._kraft_version(levels.get(name))
            else:
                levels.setdefault(name, default_level(name, release.level))
        for name, level in sorted(levels.items()):
            if name == METADATA_VERSION_FEATURE:
                continue
            low, high = SUPPORTED_FEATURES[name]
            if not low <= level <= high:
                raise FormatError(f"No feature:{name} with feature level {level}")
            unmet = unmet_dependency(name, level, levels)
            if unmet is not None:
                raise FormatError(unmet)
        return release, levels

    def _kraft_version(self, asked: int | None) -> int:
        flags = "--standalone, --initial-controllers, or --no-initial-controllers"
        if asked == 0 and self.has_dynamic_quorum:
            raise FormatError(
                f"Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags {flags} is used. "
                "For dynamic controllers support, try removing the --feature flag for kraft.version."
            )
        if asked and not self.has_dynamic_quorum:
            raise FormatError(
                f"Cannot set kraft.version to {asked} unless controller.quorum.voters is empty and one of the flags {flags} is used. "
                f"For dynamic controllers support, try using one of {flags} and removing controller.quorum.voters."
            )
        return int(self.has_dynamic_quorum) if asked is None else asked

    def _bootstrap_records(self, release: MetadataVersion, levels: Mapping[str, int]) -> list[MetadataRecord]:
        names = sorted(name for name in levels if name not in (METADATA_VERSION_FEATURE, KRAFT_VERSION_FEATURE) and levels[name] > 0)
        records: list[MetadataRecord] = [
            FeatureLevelRecord(name=name, feature_level=levels[name]) for name in (METADATA_VERSION_FEATURE, *names)
        ]
        if self.scram and release.level < SCRAM_SINCE:
            since = metadata_version(SCRAM_SINCE)
            assert since is not None, "the level is in the table"
            raise FormatError(f"SCRAM is only supported in {METADATA_VERSION_FEATURE} {since.name} or later.")
        return [*records, *self.scram]

    def _type_of(self, path: Path) -> DirectoryType:
        if path != self.metadata_directory:
            return DirectoryType.LOG
        if self.initial_voters is None:
            return DirectoryType.STATIC_METADATA
        return DirectoryType.DYNAMIC_METADATA_VOTER if self.node_id in self.initial_voters else DirectoryType.DYNAMIC_METADATA

    # --- what is there and what is written -----------------------------------------------------

    def _look(self, storage: Storage, tell: Callable[[str], None]) -> tuple[dict[Path, MetaProperties], set[Path]]:
        """The directories that are formatted, and those that cannot be read."""
        found: dict[Path, MetaProperties] = {}
        broken: set[Path] = set()
        for path in sorted(set(self.directories)):
            file = path / META_PROPERTIES_FILE
            try:
                if not storage.exists(file):
                    continue
                found[path] = MetaProperties.read(file, storage)
            except (StorageError, OSError):
                tell(f"I/O error trying to read log directory {path}. Ignoring...")
                broken.add(path)
        ids: dict[uuid.UUID, Path] = {}
        for path, meta in found.items():
            file = path / META_PROPERTIES_FILE
            if meta.cluster_id != self.cluster_id:
                raise FormatError(f"Invalid cluster.id in: {file}. Expected {self.cluster_id}, but read {meta.cluster_id}")
            if meta.node_id != self.node_id:
                raise FormatError(
                    f"Stored node id {meta.node_id} doesn't match previous node id {self.node_id} in {file}. "
                    "If you moved your data, make sure your configured node id matches. If you intend to create a new node, "
                    "you should remove all data in your data directories."
                )
            other = ids.setdefault(meta.directory_id, path)
            if other != path:
                raise FormatError(f"Duplicate directory ID {meta.directory_id} found. It was the ID of {other}, but also of {path}")
        return found, broken

    def _write(
        self,
        storage: Storage,
        path: Path,
        kind: DirectoryType,
        records: Sequence[MetadataRecord],
        kraft_version: int,
        *,
        rng: Random,
        wall_ms: int,
    ) -> None:
        storage.make_dirs(path)
        storage.replace(path / BOOTSTRAP_FILE, bootstrap_file_content(records, wall_ms=wall_ms))
        directory_id = random_uuid(rng)
        voters = self.initial_voters
        if kind.has_voters:
            assert voters is not None, "otherwise the directory is of another kind"
            own = voters.get(self.node_id)
            if own is not None and own.key.directory_id is not None:
                directory_id = own.key.directory_id
            controls = [
                (ControlType.KRAFT_VERSION, encode_kraft_version(kraft_version)),
                (ControlType.KRAFT_VOTERS, voters_value(voters)),
            ]
            log_directory = path / str(METADATA_PARTITION)
            storage.make_dirs(log_directory)
            content = snapshot_bytes([], wall_ms=wall_ms, last_contained_ms=wall_ms, controls=controls)
            storage.replace(log_directory / BOOTSTRAP_SNAPSHOT.file_name, content)
        # Last, for a directory with this file counts as formatted.
        MetaProperties(cluster_id=self.cluster_id, node_id=self.node_id, directory_id=directory_id).write(
            path / META_PROPERTIES_FILE, storage
        )


def _shown(records: Sequence[MetadataRecord], release: MetadataVersion) -> str:
    texts = [
        f"ApiMessageAndVersion(FeatureLevelRecord(name='{record.name}', featureLevel={record.feature_level}) at version 0)"
        if isinstance(record, FeatureLevelRecord)
        # What proves a password is shown to nobody.
        else f"ApiMessageAndVersion(UserScramCredentialRecord(name='{getattr(record, 'name', '')}') at version 0)"
        for record in records
    ]
    return f"BootstrapMetadata(records=[{', '.join(texts)}], metadataVersionLevel={release.level}, source=format command)"
