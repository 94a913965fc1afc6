"""Disk space for bytes that are still to come (``preallocate``).

The space is reserved beyond the end of the file, whose size stays what was written: so a kill leaves
no zeros to be cut, and whoever reads the file sees records only. Where the system or the file system
cannot do that nothing is reserved.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Any, Final

_KEEP_SIZE: Final = 1
_CANNOT: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@cache
def _fallocate() -> Any:
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function


def reserve_space(fd: int, size: int) -> bool:
    """Reserve space for the first ``size`` bytes of a file; False where that cannot be done.

    :raises OSError: when the disk has not that much.
    """
    fallocate = _fallocate()
    if fallocate is None:
        return False
    while fallocate(fd, _KEEP_SIZE, 0, size):
        error = ctypes.get_errno()
        if error in _CANNOT:
            return False
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))
    return True
