"""Misfortunes of a wider run: such as wait for their moment, and what operators do to topics and brokers in between.

Some bugs show only when two things meet: a voter dies between its answer and its disk, a partition changes while its
leader's wish is on the way. Chance seldom brings them about, so these misfortunes see to it. They are planned from
chance of their own: plans of the others stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.simulation.nemesis import TRY_AGAIN, Episode, Nemesis, beginnings
from kafkalab.engine.simulation.newcomer import NEWCOMER_ID, Newcomer
from kafkalab.engine.telemetry.events import Event, VoteAnswered

if TYPE_CHECKING:
    from kafkalab.engine.simulation.invariants import Invariants
    from kafkalab.engine.simulation.member import SimMember
    from kafkalab.engine.simulation.node import SimNode
    from kafkalab.engine.simulation.world import SimWorld

OCCASIONS: Final[Mapping[str, float]] = {
    "kill_voter": 1.0,
    "race_votes": 1.0,
    "race_isr": 1.0,
    "stall_member": 0.7,
    "outlive": 1.0,
    "delete_records": 1.0,
    "throttle": 0.7,
    "newcomer": 1.0,
    "kill_newcomer": 1.0,
}
"""What there is, and how often beside the others."""

LOOK_MS: Final = 100.0
"""So often is looked whether a moment has come."""
MAJORITY_WITHOUT_TWO: Final = 4
"""With more voters than these a majority is left without the leader and one more."""
SLOW_MS: Final = 400.0
MAJORITY_WITHOUT_ONE: Final = 3
"""With more voters than these two candidates have others than the former leader to ask."""
BACK_TO_VOTE_MS: Final = 2_000.0
VOTES_LATE_MAX_MS: Final = 400.0
"""Later by so much there and back an answer still finds its candidate."""
STALL_MIN_MS: Final = 9_000.0
STALL_MAX_MS: Final = 25_000.0
RATES: Final = (5_000, 20_000, 100_000)
"""Bytes a second that throttled replication gets: more than is written, so that everybody catches up some day."""


def plan_occasions(rng: Random, *, for_ms: float, kinds: Sequence[str] = ()) -> list[Episode]:
    """The misfortunes of this module in a run, in the order of their beginnings.

    :param kinds: take these; none takes a choice of its own.
    """
    chosen = list(kinds) or [kind for kind in OCCASIONS if rng.random() < 0.5] or ["delete_records"]
    if "kill_newcomer" in chosen and "newcomer" not in chosen:
        chosen.append("newcomer")
    weights = [OCCASIONS[kind] * rng.uniform(0.3, 1.0) for kind in chosen]
    mean_gap_ms = rng.choice((3_000.0, 8_000.0, 15_000.0))
    episodes: list[Episode] = []
    for at_ms, kind in beginnings(rng, chosen, weights, mean_gap_ms=mean_gap_ms, for_ms=for_ms):
        lasting_ms = rng.uniform(STALL_MIN_MS, STALL_MAX_MS) if kind == "stall_member" else rng.uniform(3_000.0, 20_000.0)
        episodes.append(Episode(kind, round(at_ms, 3), round(lasting_ms, 3), (), float(rng.randrange(1 << 30))))
    return episodes


class WiderNemesis(Nemesis):
    """Carries out plans in which there are misfortunes of this module, too.

    :param short_lived: topics of which records may be deleted.
    :param unclean: topics in which whoever is left may lead.
    """

    def __init__(
        self,
        world: SimWorld,
        episodes: Sequence[Episode],
        topics: Sequence[str],
        tell: Callable[[str], None],
        *,
        invariants: Invariants,
        members: Sequence[SimMember] = (),
        short_lived: Sequence[str] = (),
        unclean: Sequence[str] = (),
    ) -> None:
        super().__init__(world, episodes, topics, tell)
        self._invariants = invariants
        self._members = members
        self._short_lived = short_lived
        self._unclean = unclean
        self._newcomer = Newcomer(world, topics, tell)
        self._throttles = 0

    def finish(self) -> None:
        """Let everything be right again, members and settings too."""
        super().finish()
        self._newcomer.finish()
        for member in self._members:
            member.loop.resume()
        if self._throttles:
            self._throttle_all(None)

    def _when(self, is_time: Callable[[], bool], action: Callable[[], None], within_ms: float) -> None:
        """Do something as soon as its moment has come, if it does."""
        world, due_ms = self._world, self._world.now_ms + within_ms

        def look() -> None:
            if self._is_over or world.now_ms >= due_ms:
                return
            if is_time():
                action()
            else:
                world.at(world.now_ms + LOOK_MS, look)

        look()

    def _partition(self, rng: Random, topics: Sequence[str]) -> tuple[str, int, Any] | None:
        """Some partition of some topic."""
        image = self._world.image()
        topic = None if image is None or not topics else image.topics_by_name.get(rng.choice(topics))
        if topic is None:
            return None
        index = rng.choice(sorted(topic.partitions))
        return topic.name, index, topic.partitions[index]

    # --- the quorum ------------------------------------------------------------------------------------

    def _kill_voter(self, episode: Episode) -> Callable[[], None] | None:
        """The leader dies, and who votes for another dies with its answer; then they meet without the one they voted for.

        With five voters one is kept out of it all: it still is in the epoch before, and may stand for the very epoch in
        which the others have voted.
        """
        world, rng = self._world, Random(int(episode.amount))
        leader, voters = world.active_controller(), world.voter_ids()
        if leader is None or not voters.isdisjoint(world.broker_ids) or not all(world.nodes[one].is_running for one in voters):
            return None
        has_power = rng.random() < 0.5
        back_ms = rng.uniform(50.0, 1_000.0)
        outsider = rng.choice(sorted(voters - {leader})) if len(voters) > MAJORITY_WITHOUT_TWO else None
        ups = [self._down(leader)] if outsider is None else []
        end = _nothing if outsider is None else self._down(leader)
        elected: list[int] = []
        world.kill(leader)
        if outsider is not None:
            world.isolate(outsider)

        def heard(event: Event) -> None:
            if isinstance(event, VoteAnswered) and event.granted and not event.pre_vote and event.candidate_id != outsider:
                if not elected:
                    elected.append(event.candidate_id)
                    world.at(world.now_ms + back_ms, meet)
                world.at(world.now_ms, lambda: strike(event.node_id))

        def strike(voter_id: int) -> None:
            if self._is_over:
                return
            if has_power:
                world.kill(voter_id)
            else:
                world.power_loss(voter_id, torn_tail=None)
            ups.append(self._down(voter_id))
            world.isolate(elected[0])

        def meet() -> None:
            deaf()
            if not self._is_over:
                restart()
                if outsider is not None:
                    world.heal(outsider)
                    world.isolate(elected[0])

        def deaf() -> None:
            if heard in world.sink.watchers:
                world.sink.watchers.remove(heard)

        def restart() -> None:
            waiting, ups[:] = list(ups), []
            for up in waiting:
                up()

        def undo() -> None:
            deaf()
            for one in (*elected, *(() if outsider is None else (outsider,))):
                world.heal(one)
            restart()
            end()

        world.sink.watchers.append(heard)
        return undo

    def _race_votes(self, episode: Episode) -> Callable[[], None] | None:
        """The leader goes while messages between the members are late: others stand before they hear that somebody does."""
        world, rng = self._world, Random(int(episode.amount))
        leader, voters = world.active_controller(), world.voter_ids()
        if leader is None or not voters.isdisjoint(world.broker_ids) or not all(world.nodes[one].is_running for one in voters):
            return None
        links = list(combinations(sorted(voters), 2))
        for one, other in links:
            world.delay(one, other, rng.uniform(0.0, VOTES_LATE_MAX_MS), one_way=True)
            world.delay(other, one, rng.uniform(0.0, VOTES_LATE_MAX_MS), one_way=True)
        if len(voters) <= MAJORITY_WITHOUT_ONE:
            # The others stand, and it is the one whom both may ask.
            world.kill(leader)
            world.at(world.now_ms + rng.uniform(0.0, BACK_TO_VOTE_MS), self._down(leader))
            up = _nothing
        else:
            if rng.random() < 0.5:
                world.stop(leader, wait=False)
            else:
                world.kill(leader)
            up = self._down(leader)

        def undo() -> None:
            for one, other in links:
                world.heal(one, other)
            up()

        return undo

    # --- replication -----------------------------------------------------------------------------------

    def _race_isr(self, episode: Episode) -> Callable[[], None] | None:
        """While a leader's wish for another in-sync replica is on its way, the partition changes."""
        world, rng = self._world, Random(int(episode.amount))
        found = self._partition(rng, self._topics)
        controller = world.active_controller()
        if found is None or controller is None or controller in world.broker_ids:
            return None
        name, index, registration = found
        leader = registration.leader
        others = [one for one in registration.isr if one != leader]
        if leader < 0 or not others:
            return None
        follower = rng.choice(others)
        watching: list[Callable[[SimNode], None]] = []

        def wishes(sim: SimNode) -> None:
            manager = None if sim.node_id != leader or sim.node is None else sim.node.replica_manager
            partition = None if manager is None else manager.partition((name, index))
            if partition is None or partition.pending is None or partition.pending.joining != follower:
                return
            unwatch()
            # Not amid what that node does.
            world.at(world.now_ms, change)

        def change() -> None:
            image = world.image()
            topic = None if image is None or self._is_over else image.topics_by_name.get(name)
            if topic is not None:
                self._ask_reassignment(name, index, list(reversed(topic.partitions[index].replicas)))

        def unwatch() -> None:
            for check in watching:
                world.checks.remove(check)
            watching.clear()

        def let_in() -> None:
            world.delay(leader, controller, SLOW_MS, one_way=True)
            world.heal(leader, follower)
            world.checks.append(wishes)
            watching.append(wishes)

        def undo() -> None:
            unwatch()
            world.heal(leader, follower)
            world.heal(leader, controller)

        world.isolate(leader, follower)
        self._when(lambda: follower not in world.isr(name, index), let_in, episode.for_ms)
        return undo

    def _outlive(self, episode: Episode) -> Callable[[], None] | None:
        """A replica falls behind, and all that are in sync die: it leads, where that is allowed."""
        world, rng = self._world, Random(int(episode.amount))
        found = self._partition(rng, self._unclean)
        if found is None or len(found[2].isr) < 2:
            return None
        name, index, registration = found
        straggler = rng.choice([one for one in registration.isr if one != registration.leader] or list(registration.isr))
        ups: list[Callable[[], None]] = []

        def strike() -> None:
            isr = world.isr(name, index)
            if all(world.nodes[one].is_alive and not self._is_protected(one) for one in isr):
                for one in isr:
                    world.kill(one)
                    ups.append(self._down(one))
            world.heal(straggler)

        def undo() -> None:
            world.heal(straggler)
            for up in ups:
                up()

        for other in registration.replicas:
            if other != straggler:
                world.isolate(straggler, other)
        self._when(lambda: straggler not in world.isr(name, index), strike, episode.for_ms / 2)
        return undo

    # --- clients ---------------------------------------------------------------------------------------

    def _stall_member(self, episode: Episode) -> Callable[[], None] | None:
        """A group's member does nothing for as long as the group takes to go on without it."""
        running = [member for member in self._members if not member.loop.is_paused]
        if not running:
            return None
        member = Random(int(episode.amount)).choice(running)
        member.loop.pause()
        return member.loop.resume

    # --- administration --------------------------------------------------------------------------------

    def _ask_reassignment(self, topic: str, index: int, replicas: list[int]) -> None:
        self._newcomer.ask_reassignment(topic, index, replicas)

    def _delete_records(self, episode: Episode) -> Callable[[], None] | None:
        world, rng = self._world, Random(int(episode.amount))
        found = self._partition(rng, self._short_lived)
        image = world.image()
        if found is None or image is None:
            return None
        name, index, _ = found
        offset = int(world.high_watermark(name, index) * rng.random())
        if offset <= 0:
            return None
        self._invariants.retention.may_delete(image.topics_by_name[name].topic_id, index, offset)

        def answered(response: Any) -> bool:
            row = response.topics[0].partitions[0]
            error = Errors(row.error_code)
            if error is Errors.NONE and row.low_watermark < offset:
                world.fail("deleted too little", f"{name}-{index}: before {offset}; a replica still begins at {row.low_watermark}")
            # Leaders that are new to it do not know yet what is committed.
            if error not in _DELETE_EXPECTED:
                world.fail("unexpected refusal", f"DELETE_RECORDS: {error.name}")
            return error is Errors.NONE

        body = {"topics": [{"name": name, "partitions": [{"partition_index": index, "offset": offset}]}], "timeout": 10_000}
        world.admin.request(ApiKey.DELETE_RECORDS, body, answered, within_ms=20_000.0)
        return _nothing

    def _throttle(self, episode: Episode) -> Callable[[], None]:
        rate = Random(int(episode.amount)).choice(RATES)
        self._throttles += 1
        self._throttle_all(rate)
        return lambda: self._throttle_all(None)

    def _throttle_all(self, rate: int | None) -> None:
        """Set what replication gets, of all replicas that are not in sync; None takes that back."""
        self._world.alter_brokers({"leader.replication.throttled.rate": rate, "follower.replication.throttled.rate": rate})
        who = None if rate is None else "*"
        for topic in self._topics:
            config = {"leader.replication.throttled.replicas": who, "follower.replication.throttled.replicas": who}
            self._world.alter_topic(topic, config, wait=False)

    # --- a broker more ---------------------------------------------------------------------------------

    def _act(self, episode: Episode) -> Callable[[], None] | None:
        if episode.kind == "newcomer":
            return self._newcomer.come(Random(int(episode.amount)))
        return super()._act(episode)

    def _kill_newcomer(self, episode: Episode) -> Callable[[], None] | None:
        if not self._newcomer.is_here or self._is_protected(NEWCOMER_ID) or not self._world.nodes[NEWCOMER_ID].is_alive:
            return None
        self._world.kill(NEWCOMER_ID)
        return self._newcomer.restart


def _nothing() -> None:
    pass


_DELETE_EXPECTED: Final = TRY_AGAIN | {
    Errors.NONE,
    Errors.NOT_LEADER_OR_FOLLOWER,
    Errors.UNKNOWN_TOPIC_OR_PARTITION,
    Errors.OFFSET_OUT_OF_RANGE,
    Errors.KAFKA_STORAGE_ERROR,
}
