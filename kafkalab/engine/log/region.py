"""A stretch of a data file that goes to a socket without passing through the program.

A fetch is answered with where its bytes lie; the connection lets the system copy them from the page
cache to the socket. Until that has happened the bytes must stay what they were: a region holds the
file's descriptor, so that deleting or replacing the file does not touch it, and it knows of every
cut of the file since it was made, so that bytes written in place of those cut away never leave in
its name.
"""

from __future__ import annotations

import os
from typing import Final

REGION_BYTES_MIN: Final = 16_384
"""Less than this is read and copied: that is cheaper than another call to the system."""
NO_REGIONS: Final = 2**62
"""A number of bytes that nobody fetches: everything is read."""

_HAS_PREAD: Final = hasattr(os, "pread")


class Descriptor:
    """A system's descriptor of an open file, closed when nobody holds this any more."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        # Whoever needs the descriptor keeps this object; the last one to go closes it.
        os.close(self.fd)


class FileRegion:
    """``size`` bytes of a file from ``position`` on."""

    __slots__ = ("_cuts", "_cuts_seen", "_descriptor", "position", "size")

    def __init__(self, descriptor: Descriptor, position: int, size: int, cuts: list[int]) -> None:
        """``cuts`` are the sizes that the file was cut to, in order; the file adds to them."""
        self._descriptor = descriptor
        self._cuts = cuts
        self._cuts_seen = len(cuts)
        self.position = position
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"FileRegion({self.position}, {self.size})"

    @property
    def fd(self) -> int:
        """The descriptor to send from; it stays open as long as the region is there."""
        return self._descriptor.fd

    @property
    def is_whole(self) -> bool:
        """Whether the file still has the bytes that it had when the region was made."""
        cuts = self._cuts
        return len(cuts) == self._cuts_seen or min(cuts[self._cuts_seen :]) >= self.position + self.size

    def read(self) -> bytes:
        """The bytes.

        :raises OSError: when the file has been cut meanwhile.
        """
        if not self.is_whole:
            raise OSError(f"the file was cut to {min(self._cuts[self._cuts_seen :])} bytes")
        if _HAS_PREAD:
            return os.pread(self.fd, self.size, self.position)
        os.lseek(self.fd, self.position, os.SEEK_SET)
        return os.read(self.fd, self.size)
