"""Which replicas a step has changed: a broker has dozens, and a step touches one or two of them.

A replica that is watched gets a class that notes whatever is set of it, from wherever. What its attributes hold is
never changed in place, but for its log, whose end is compared. So no change of either goes unseen; whoever looks
decides whether it is one that matters.
"""

from __future__ import annotations

from collections.abc import Iterable

from kafkalab.engine.replica.partition import Partition


class ReplicaWatch:
    """The replicas of all brokers of a world."""

    def __init__(self) -> None:
        lives: dict[int, WatchedReplicas] = {}

        # One class for all of them: the interpreter is quick with attributes while all instances have the same one.
        class WatchedPartition(Partition):
            __slots__ = ()

            def __setattr__(self, name: str, value: object) -> None:
                super().__setattr__(name, value)
                lives[self.node_id].note(self)

        self._lives = lives
        self._kind = WatchedPartition

    def begin_life(self, node_id: int) -> WatchedReplicas:
        """A broker has none as yet; those of its last life count no more."""
        replicas = self._lives[node_id] = WatchedReplicas(self._kind)
        return replicas


class WatchedReplicas:
    """The replicas of one life of a broker."""

    __slots__ = ("_hosted", "_kind", "_log_ends", "_noted")

    def __init__(self, kind: type[Partition]) -> None:
        self._kind = kind
        # In the same order.
        self._hosted: tuple[Partition, ...] = ()
        self._log_ends: list[int] = []
        self._noted: dict[Partition, None] = {}

    def note(self, partition: Partition) -> None:
        """Tell of it when it is asked for next, whether it changes or not."""
        self._noted[partition] = None

    def changed(self, hosted: Iterable[Partition]) -> list[Partition]:
        """Those that may be other than when this was asked last, of all that there are now."""
        now = tuple(hosted)
        log_ends = [partition.log.log_end_offset for partition in now]
        if now != self._hosted:
            for partition in now:
                partition.__class__ = self._kind
            changed = list(now)
        elif log_ends != self._log_ends:
            changed = [
                partition
                for partition, is_end, was_end in zip(now, log_ends, self._log_ends, strict=True)
                if is_end != was_end or partition in self._noted
            ]
        elif self._noted:
            changed = [partition for partition in now if partition in self._noted]
        else:
            return []
        self._hosted, self._log_ends = now, log_ends
        self._noted = {}
        return changed
