"""The levels of metadata.version by name, and which of them changed what is in the metadata log.

The names are those of Kafka's ``MetadataVersion``; a release stands for the last of its levels.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class MetadataVersion(NamedTuple):
    """One level."""

    level: int
    release: str
    step: str
    changed_metadata: bool
    """Records came that older levels cannot say; there is no way back from it without loss."""

    @property
    def name(self) -> str:
        return f"{self.release}-{self.step}"


METADATA_VERSIONS: Final = (
    MetadataVersion(7, "3.3", "IV3", True),
    MetadataVersion(8, "3.4", "IV0", True),
    MetadataVersion(9, "3.5", "IV0", False),
    MetadataVersion(10, "3.5", "IV1", False),
    MetadataVersion(11, "3.5", "IV2", True),
    MetadataVersion(12, "3.6", "IV0", False),
    MetadataVersion(13, "3.6", "IV1", True),
    MetadataVersion(14, "3.6", "IV2", True),
    MetadataVersion(15, "3.7", "IV0", True),
    MetadataVersion(16, "3.7", "IV1", False),
    MetadataVersion(17, "3.7", "IV2", True),
    MetadataVersion(18, "3.7", "IV3", False),
    MetadataVersion(19, "3.7", "IV4", False),
    MetadataVersion(20, "3.8", "IV0", False),
    MetadataVersion(21, "3.9", "IV0", False),
    MetadataVersion(22, "4.0", "IV0", False),
    MetadataVersion(23, "4.0", "IV1", True),
    MetadataVersion(24, "4.0", "IV2", False),
    MetadataVersion(25, "4.0", "IV3", False),
    MetadataVersion(26, "4.1", "IV0", False),
    MetadataVersion(27, "4.1", "IV1", False),
    MetadataVersion(28, "4.2", "IV0", False),
    MetadataVersion(29, "4.2", "IV1", False),
    MetadataVersion(30, "4.3", "IV0", True),
)
"""From the lowest that Kafka 4.3 can work at to the newest that is stable in it."""
_BY_LEVEL: Final = {version.level: version for version in METADATA_VERSIONS}
_BY_NAME: Final = {version.release: version for version in METADATA_VERSIONS} | {version.name: version for version in METADATA_VERSIONS}


def metadata_version(level: int) -> MetadataVersion | None:
    """The version of that level; None for one that is not known."""
    return _BY_LEVEL.get(level)


def metadata_version_named(text: str) -> MetadataVersion | None:
    """The version called so: a release (``4.3``, also ``4.3.1``) or a level's name (``4.3-IV0``)."""
    parts = text.split(".")
    return _BY_NAME.get(".".join(parts[:2]) if len(parts) > 2 else text)


def names_of_metadata_versions() -> str:
    """All of them, for a message."""
    return ", ".join(version.name for version in METADATA_VERSIONS)


def changes_metadata(low: int, high: int) -> bool:
    """Whether a level above ``low`` and up to ``high`` brought records that ``low`` cannot say."""
    return any(version.changed_metadata for version in METADATA_VERSIONS if low < version.level <= high)
