"""Where a stop can interrupt a compaction, and how the next start finishes it or undoes it.

A compacted segment is written under ``.cleaned``. When it is complete its files are renamed to
``.swap``, the segments it replaces to ``.deleted``, and last it takes its place. So:

- ``.cleaned`` files are removed: they may be incomplete. So are the ``.swap`` files of a segment
  that still has a ``.cleaned`` one, and of every later segment: nothing was deleted yet.
- Any other ``.log.swap`` is complete, and what it covers may be gone in part: it wins.
- A ``.swap`` of an index alone belongs to a log that is in its place already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kafkalab.engine.log.segment import CLEANED_SUFFIX, DELETED_SUFFIX, LOG_SUFFIX, SEGMENT_SUFFIXES, SWAP_SUFFIX, Segment
from kafkalab.engine.log.storage import Storage

OFFSET_DIGITS: Final = 20
_LEFTOVER_SUFFIXES: Final = (DELETED_SUFFIX, ".tmp", ".part")
_UNFINISHED_SUFFIXES: Final = (CLEANED_SUFFIX, SWAP_SUFFIX, *_LEFTOVER_SUFFIXES)
_KEPT_PREFIX: Final = "quorum-state"


def settle_files(storage: Storage, directory: Path) -> list[str]:
    """Remove what was left half done, finish what was nearly done; the names that are there then.

    :raises OSError: as the system gives it.
    """
    names = storage.list_dir(directory)
    remaining = []
    swaps = []
    least_cleaned: int | None = None
    for name in names:
        if name.endswith(_UNFINISHED_SUFFIXES) and storage.is_dir(directory / name):
            # Nothing of ours, whatever it is called.
            continue
        if name.endswith(CLEANED_SUFFIX):
            offset = offset_of(name)
            if offset is not None:
                least_cleaned = offset if least_cleaned is None else min(least_cleaned, offset)
            storage.remove(directory / name)
        elif name.endswith(_LEFTOVER_SUFFIXES) and not name.startswith(_KEPT_PREFIX):
            storage.remove(directory / name)
        elif name.endswith(SWAP_SUFFIX):
            swaps.append(name)
        else:
            remaining.append(name)
    if not swaps:
        return remaining
    valid = []
    for name in swaps:
        offset = offset_of(name)
        if offset is None or (least_cleaned is not None and offset >= least_cleaned):
            storage.remove(directory / name)
        else:
            valid.append(name)
    for name in valid:
        if name.endswith(LOG_SUFFIX + SWAP_SUFFIX):
            start, end = _range_of(storage, directory, name)
            for old in [old for old in remaining if _is_replaced(old, start, end)]:
                storage.remove(directory / old)
                remaining.remove(old)
    for name in valid:
        target = name.removesuffix(SWAP_SUFFIX)
        storage.rename(directory / name, directory / target)
        if target not in remaining:
            remaining.append(target)
    return remaining


def offset_of(name: str) -> int | None:
    """The base offset with which a file's name begins; None for other names."""
    digits = name[:OFFSET_DIGITS]
    return int(digits) if len(digits) == OFFSET_DIGITS and digits.isascii() and digits.isdecimal() else None


def _is_replaced(name: str, start: int, end: int) -> bool:
    offset = offset_of(name)
    return offset is not None and start <= offset < end and name[OFFSET_DIGITS:] in SEGMENT_SUFFIXES


def _range_of(storage: Storage, directory: Path, name: str) -> tuple[int, int]:
    start = int(name[:OFFSET_DIGITS])
    segment = Segment(storage, directory, start, size=storage.size(directory / name), created_ms=0, suffix=SWAP_SUFFIX)
    # An empty one still takes the place of the segment at its own base.
    end = max((header.next_offset for _, header in segment.headers()), default=start)
    segment.close()
    return start, max(end, start + 1)
