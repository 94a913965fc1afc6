"""A real Kafka cluster to start, connect to, break and watch. :class:`Lab` is the public Python API."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafkalab.engine.cluster.lab import Lab

__all__ = ["Lab", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # The engine is loaded when it is asked for: the command line imports this package to print its help.
    if name == "Lab":
        return importlib.import_module("kafkalab.engine.cluster.lab").Lab
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
