"""The quorum's times and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from kafkalab.engine.common.config import BrokerConfig


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Settings of ``controller.quorum.*``, and what KafkaLab adds to them."""

    election_timeout_ms: int = 1_000
    fetch_timeout_ms: int = 2_000
    election_backoff_max_ms: int = 1_000
    request_timeout_ms: int = 2_000
    retry_backoff_ms: int = 20
    fetch_max_wait_ms: int = 500
    fetch_max_bytes: int = 1_048_576
    fetch_snapshot_max_bytes: int = 1_048_576
    retention_bytes: int = 104_857_600
    """Of the metadata log and its snapshots together; -1: no bound."""
    retention_ms: int = 604_800_000
    """-1: no bound."""
    boot_election_wait_ms: int = 60
    """The first wait for a leader after the start, before an election is tried. A pre-vote disturbs
    nobody, so a fresh quorum need not wait a full election timeout; each try doubles the wait."""
    listener_name: str = "CONTROLLER"
    auto_join: bool = False
    """A controller that is no voter asks to become one (KIP-1186)."""

    def retry_delay_ms(self, attempt: int, longest_ms: float) -> float:
        """How long to wait before a request is sent once more; ``attempt`` counts from 0."""
        return min(longest_ms, self.retry_backoff_ms * 2.0 ** min(attempt, 8))

    @classmethod
    def from_broker(cls, config: BrokerConfig) -> Self:
        """What a node's settings say."""
        listeners = config.get_list("controller.listener.names")
        election_timeout_ms = max(1, config.get_int("controller.quorum.election.timeout.ms"))
        return cls(
            election_timeout_ms=election_timeout_ms,
            fetch_timeout_ms=max(1, config.get_int("controller.quorum.fetch.timeout.ms")),
            election_backoff_max_ms=max(1, config.get_int("controller.quorum.election.backoff.max.ms")),
            request_timeout_ms=max(1, config.get_int("controller.quorum.request.timeout.ms")),
            retry_backoff_ms=max(1, config.get_int("controller.quorum.retry.backoff.ms")),
            fetch_max_bytes=config.get_int("controller.quorum.fetch.max.bytes"),
            fetch_snapshot_max_bytes=config.get_int("controller.quorum.fetch.snapshot.max.bytes"),
            retention_bytes=config.get_int("metadata.max.retention.bytes"),
            retention_ms=config.get_int("metadata.max.retention.ms"),
            boot_election_wait_ms=min(60, election_timeout_ms),
            listener_name=listeners[0] if listeners else "CONTROLLER",
            auto_join=config.get_boolean("controller.quorum.auto.join.enable"),
        )
