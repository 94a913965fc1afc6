"""Fetch sessions: a fetcher that comes again and again says only what has changed (KIP-227).

A session keeps a fetcher's partitions and positions, and what it was last told of each. Its epoch
goes up by one with each request, so that a lost or repeated request is noticed. Followers are
privileged: a consumer's session makes room for theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.replica.delayed import FetchItem, PartitionResponse
from kafkalab.engine.replica.tracking import FollowerTracker

if TYPE_CHECKING:
    from random import Random

INITIAL_EPOCH: Final = 0
"""Asks for a new session."""
FINAL_EPOCH: Final = -1
"""Asks for no session, and ends the one that is named."""
NO_SESSION: Final = 0
EVICTION_MS: Final = 120_000.0
_INT32_MAX: Final = 0x7FFFFFFF

ItemKey = tuple[Any, int]
"""Topic id, or topic name before version 13, and partition."""


def next_epoch(epoch: int) -> int:
    """The epoch of the request after this one."""
    if epoch < 0:
        return FINAL_EPOCH
    return 1 if epoch == _INT32_MAX else epoch + 1


class FetchSession:
    """What is remembered of one fetcher."""

    __slots__ = (
        "created_ms",
        "epoch",
        "image_offset",
        "is_privileged",
        "items",
        "last_used_ms",
        "replica_id",
        "session_id",
        "tracker",
        "uses_topic_ids",
    )

    def __init__(
        self,
        session_id: int,
        items: dict[ItemKey, FetchItem],
        *,
        is_privileged: bool,
        uses_topic_ids: bool,
        now_ms: float,
        replica_id: int,
        replica_epoch: int,
    ) -> None:
        self.session_id = session_id
        self.replica_id = replica_id
        """Whose it is; -1 for consumers."""
        self.tracker: FollowerTracker | None = None
        if is_privileged:
            self.tracker = FollowerTracker(replica_epoch)
            for item in items.values():
                self._track(item, self.tracker)
        self.items = items
        """In the order in which they are read: what was read goes to the end."""
        self.is_privileged = is_privileged
        self.uses_topic_ids = uses_topic_ids
        self.epoch = next_epoch(INITIAL_EPOCH)
        """The epoch that the next request must have."""
        self.image_offset = -1
        """The metadata by which its topics were last looked up."""
        self.created_ms = now_ms
        self.last_used_ms = now_ms

    @staticmethod
    def _track(item: FetchItem, tracker: FollowerTracker) -> None:
        item.tracker = tracker
        item.is_noted = False
        tracker.dirty[item] = None

    def update(self, items: list[FetchItem], forgotten: Iterable[ItemKey]) -> None:
        """Take over what a request says: new positions, new partitions, and those that are not wanted any more."""
        kept, tracker = self.items, self.tracker
        for new in items:
            key = (new.topic_id if self.uses_topic_ids else new.key[0], new.key[1])
            item = kept.get(key)
            if item is None:
                item = kept[key] = new
            else:
                if not new.error:
                    item.key = new.key
                    item.error = 0
                item.fetch_offset = new.fetch_offset
                item.max_bytes = new.max_bytes
                if item.current_leader_epoch != new.current_leader_epoch:
                    # An answer of the epoch before is thrown away by a follower that has gone on meanwhile.
                    item.sent_high_watermark = -1
                item.current_leader_epoch = new.current_leader_epoch
                item.last_fetched_epoch = new.last_fetched_epoch
                item.log_start_offset = new.log_start_offset
            if tracker is not None:
                self._track(item, tracker)
        for key in forgotten:
            gone = kept.pop(key, None)
            if gone is not None:
                gone.leave()

    def to_look_at(self, replica_epoch: int) -> list[FetchItem]:
        """What a fetch looks at: of a follower's session what is new, else everything."""
        tracker = self.tracker
        if tracker is None:
            return list(self.items.values())
        if tracker.replica_epoch != replica_epoch:
            # The same session in another life of its broker: whatever was known of it is known anew.
            tracker.replica_epoch = replica_epoch
            for item in self.items.values():
                self._track(item, tracker)
        return list(tracker.dirty)

    def end(self) -> None:
        """Nothing is kept for it any more."""
        if self.tracker is not None:
            for item in self.items.values():
                item.leave()


class FetchContext:
    """One request's view of its session: what to read, and what of it to tell."""

    __slots__ = ("_epoch", "error", "is_incremental", "items", "session")

    def __init__(self, items: list[FetchItem], session: FetchSession | None, *, is_incremental: bool, error: int = 0) -> None:
        self.items = items
        self.session = session
        self.is_incremental = is_incremental
        self.error = error
        """Of the request as a whole."""
        self._epoch = session.epoch if session is not None else 0

    @property
    def session_id(self) -> int:
        """What the answer says."""
        return self.session.session_id if self.session is not None else NO_SESSION

    def settle(self, results: list[PartitionResponse | None]) -> bool:
        """Remember what the answer tells. Leaves None in place of what an incremental answer need not tell.

        False when the session has moved on without this request, which is then answered with
        INVALID_FETCH_SESSION_EPOCH.
        """
        session = self.session
        if session is None:
            return True
        if session.epoch != self._epoch:
            return False
        read: list[FetchItem] = []
        dirty = None if session.tracker is None else session.tracker.dirty
        for index, (item, result) in enumerate(zip(self.items, results, strict=True)):
            if result is None:
                if dirty is not None and item.is_noted and not item.pending:
                    dirty.pop(item, None)
                continue
            failed = result["error_code"] != Errors.NONE
            high_watermark = result["high_watermark"]
            log_start_offset = result.get("log_start_offset", -1)
            has_records = bool(result["records"])
            if (
                self.is_incremental
                and not has_records
                and not failed
                and item.sent_high_watermark == high_watermark
                and item.sent_log_start_offset == log_start_offset
                and "diverging_epoch" not in result
                and "preferred_read_replica" not in result
            ):
                results[index] = None
                if dirty is not None and item.is_noted and not item.pending:
                    dirty.pop(item, None)
                continue
            # After an error everything is told again; so it is to a follower that cuts its log, and looks at nothing else.
            item.sent_high_watermark = -1 if failed or "diverging_epoch" in result else high_watermark
            item.sent_log_start_offset = log_start_offset
            if has_records:
                read.append(item)
        # Whoever got records waits behind those who did not: with a small limit all get their turn.
        if dirty is not None:
            for item in read:
                if item in dirty:
                    del dirty[item]
                    dirty[item] = None
        elif len(read) < len(self.items):
            uses_ids = session.uses_topic_ids
            for item in read:
                key = (item.topic_id if uses_ids else item.key[0], item.key[1])
                if session.items.pop(key, None) is not None:
                    session.items[key] = item
        return True


class FetchSessions:
    """All sessions of a broker, in a bounded number of slots."""

    def __init__(self, *, slots_max: int, rng: Random) -> None:
        self._slots_max = slots_max
        self._rng = rng
        self._sessions: dict[int, FetchSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(
        self,
        session_id: int,
        epoch: int,
        items: list[FetchItem],
        forgotten: Iterable[ItemKey],
        *,
        uses_topic_ids: bool,
        is_follower: bool,
        now_ms: float,
        replica_id: int = -1,
        replica_epoch: int = -1,
    ) -> FetchContext:
        """Find, make, change or end the session that a request speaks of."""
        if epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            # A full request. Whatever session it names is over.
            if session_id != NO_SESSION:
                self._end(session_id)
            if epoch == FINAL_EPOCH:
                return FetchContext(items, None, is_incremental=False)
            created = self._create(items, uses_topic_ids, is_follower, now_ms, replica_id, replica_epoch)
            return FetchContext(items, created, is_incremental=False)
        session = self._sessions.get(session_id)
        if session is None or session.replica_id != replica_id:
            # Nor is another's session anybody's business.
            return FetchContext([], None, is_incremental=False, error=Errors.FETCH_SESSION_ID_NOT_FOUND)
        if session.epoch != epoch:
            return FetchContext([], None, is_incremental=False, error=Errors.INVALID_FETCH_SESSION_EPOCH)
        if session.uses_topic_ids != uses_topic_ids:
            return FetchContext([], None, is_incremental=False, error=Errors.FETCH_SESSION_TOPIC_ID_ERROR)
        session.update(items, forgotten)
        if not session.items:
            del self._sessions[session_id]
            # What the request names is answered all the same, and nothing is kept of it.
            return FetchContext(items, None, is_incremental=False)
        session.epoch = next_epoch(epoch)
        session.last_used_ms = now_ms
        return FetchContext(session.to_look_at(replica_epoch), session, is_incremental=True)

    def _end(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.end()

    def _create(
        self, items: list[FetchItem], uses_topic_ids: bool, is_privileged: bool, now_ms: float, replica_id: int, replica_epoch: int
    ) -> FetchSession | None:
        if len(self._sessions) >= self._slots_max and not self._evict(is_privileged, len(items), now_ms):
            return None
        while (session_id := self._rng.randint(1, _INT32_MAX)) in self._sessions:
            pass
        by_key = {(item.topic_id if uses_topic_ids else item.key[0], item.key[1]): item for item in items}
        session = FetchSession(
            session_id,
            by_key,
            is_privileged=is_privileged,
            uses_topic_ids=uses_topic_ids,
            now_ms=now_ms,
            replica_id=replica_id,
            replica_epoch=replica_epoch,
        )
        self._sessions[session_id] = session
        return session

    def _evict(self, is_privileged: bool, size: int, now_ms: float) -> bool:
        """Make room: the longest unused session when it is stale, or else the smallest one that must yield."""
        oldest = min(self._sessions.values(), key=lambda one: one.last_used_ms, default=None)
        if oldest is None:
            return False
        victim: FetchSession | None = None
        if now_ms - oldest.last_used_ms > EVICTION_MS:
            victim = oldest
        else:
            # A consumer never pushes a follower out; among equals only the larger one, and only an old session.
            victim = min(
                (
                    one
                    for one in self._sessions.values()
                    if (is_privileged and not one.is_privileged)
                    or (one.is_privileged == is_privileged and now_ms - one.created_ms > EVICTION_MS and len(one.items) < size)
                ),
                key=lambda one: (one.is_privileged, len(one.items)),
                default=None,
            )
        if victim is None:
            return False
        self._end(victim.session_id)
        return True
