"""What runs from seeds share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet_nodes() -> Iterator[None]:
    """Nodes in trouble say much; what matters of it is in the outcomes."""
    logger = logging.getLogger("kafkalab.engine")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)
