"""Limits on how fast replicas are copied that are not in sync yet (KIP-73).

A quota has a rate, and the replicas that it is for: a topic names them with
``leader.replication.throttled.replicas`` and ``follower.replication.throttled.replicas``. What they
move is counted in samples; the rate is the sum of the samples over the time that they span, as in
Kafka. All that they move counts, but only those out of the ISR are held back, or they would leave it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kafkalab.engine.common.config import BrokerConfig
    from kafkalab.engine.common.time import Clock

LEADER_REPLICAS: Final = "leader.replication.throttled.replicas"
FOLLOWER_REPLICAS: Final = "follower.replication.throttled.replicas"
ALL: Final = "*"
WAIT_MIN_MS: Final = 10.0


class ReplicationQuota:
    """Bytes per second, over the last samples."""

    __slots__ = ("_clock", "_limit", "_sample_count", "_sample_ms", "_samples", "_throttled")

    def __init__(self, clock: Clock, limit: Callable[[], int], *, sample_count: int, sample_ms: float) -> None:
        """``limit`` gives bytes per second, whenever it is asked: the setting may change while the broker runs."""
        self._clock = clock
        self._limit = limit
        self._sample_count = sample_count
        self._sample_ms = sample_ms
        self._samples: deque[list[float]] = deque()
        """[start, bytes], the oldest first."""
        self._throttled: dict[str, frozenset[int] | None] = {}
        """Partitions of this broker by topic; None for all of the topic."""

    # --- whom it is for --------------------------------------------------------------------------

    def throttle(self, topic: str, replicas: Sequence[str], node_id: int) -> None:
        """Take over a topic's list: "partition:broker" each, or "*"."""
        if ALL in replicas:
            self._throttled[topic] = None
            return
        own = frozenset(int(partition) for partition, _, broker in (one.partition(":") for one in replicas) if broker == str(node_id))
        if own:
            self._throttled[topic] = own
        else:
            self._throttled.pop(topic, None)

    def forget(self, topic: str) -> None:
        """The topic is gone."""
        self._throttled.pop(topic, None)

    def __bool__(self) -> bool:
        """Whether it is for anybody at all."""
        return bool(self._throttled)

    def __contains__(self, key: tuple[str, int]) -> bool:
        """Whether it is for this partition's replica here."""
        partitions = self._throttled.get(key[0], frozenset())
        return partitions is None or key[1] in partitions

    # --- what they move --------------------------------------------------------------------------

    def record(self, size_bytes: int) -> None:
        """So much was moved, whether the quota allowed it or not."""
        now_ms = self._clock.now_ms()
        samples = self._samples
        if not samples or now_ms - samples[-1][0] >= self._sample_ms:
            samples.append([now_ms, 0.0])
            self._drop_old(now_ms)
        samples[-1][1] += size_bytes

    def _drop_old(self, now_ms: float) -> None:
        samples = self._samples
        while samples and now_ms - samples[0][0] >= self._sample_count * self._sample_ms:
            samples.popleft()

    def rate(self) -> float:
        """Bytes per second."""
        now_ms = self._clock.now_ms()
        self._drop_old(now_ms)
        if not self._samples:
            return 0.0
        span_ms = max(now_ms - self._samples[0][0], self._sample_ms)
        return sum(size for _, size in self._samples) * 1000.0 / span_ms

    def is_exceeded(self) -> bool:
        """Whether those who are held back have to wait."""
        return self.rate() > self._limit()

    def wait_ms(self) -> float:
        """How long until it is exceeded no more, if nothing moves meanwhile; 0 when it is not."""
        if not self.is_exceeded():
            return 0.0
        now_ms = self._clock.now_ms()
        oldest_ms = self._samples[0][0]
        limit = self._limit()
        leaves_ms = oldest_ms + self._sample_count * self._sample_ms
        due_ms = leaves_ms if limit <= 0 else min(leaves_ms, oldest_ms + sum(size for _, size in self._samples) * 1000.0 / limit)
        return max(due_ms - now_ms, WAIT_MIN_MS)


class ReplicationQuotas:
    """The three quotas of a broker: of what it sends to followers, of what it copies, and of moves between its directories."""

    __slots__ = ("follower", "leader", "moves")

    def __init__(self, clock: Clock, config: BrokerConfig) -> None:
        samples = config.get_int("replication.quota.window.num")
        sample_ms = config.get_int("replication.quota.window.size.seconds") * 1000.0
        self.leader = ReplicationQuota(
            clock, lambda: config.get_int("leader.replication.throttled.rate"), sample_count=samples, sample_ms=sample_ms
        )
        self.follower = ReplicationQuota(
            clock, lambda: config.get_int("follower.replication.throttled.rate"), sample_count=samples, sample_ms=sample_ms
        )
        self.moves = ReplicationQuota(
            clock,
            lambda: config.get_int("replica.alter.log.dirs.io.max.bytes.per.second"),
            sample_count=config.get_int("alter.log.dirs.replication.quota.window.num"),
            sample_ms=config.get_int("alter.log.dirs.replication.quota.window.size.seconds") * 1000.0,
        )

    def topic_configured(self, topic: str, config: Mapping[str, str], node_id: int) -> None:
        """A topic names the replicas that are held back, or does not any more."""
        for quota, key in ((self.leader, LEADER_REPLICAS), (self.follower, FOLLOWER_REPLICAS)):
            text = config.get(key)
            if text:
                quota.throttle(topic, text.replace(" ", "").split(","), node_id)
            else:
                quota.forget(topic)

    def forget(self, topic: str) -> None:
        """The topic is gone."""
        self.leader.forget(topic)
        self.follower.forget(topic)
