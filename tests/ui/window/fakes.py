"""A host that only notes what it was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafkalab.engine.cluster.errors import HostError


class NotingHost:
    """Stands in for the cluster host."""

    bootstrap_servers = "127.0.0.1:9092"

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.refuses = ""

    def _note(self, *what: object) -> None:
        self.asked.append(what)
        if self.refuses:
            raise HostError(self.refuses)

    def start(self) -> None:
        self._note("start")

    def wait_until_ready(self, timeout: float) -> None:
        self._note("wait_until_ready")

    def kill(self, node_id: int) -> None:
        self._note("kill", node_id)

    def stop(self, node_id: int) -> None:
        self._note("stop", node_id)

    def pause(self, node_id: int) -> None:
        self._note("pause", node_id)

    def resume(self, node_id: int) -> None:
        self._note("resume", node_id)

    def restart(self, node_id: int) -> None:
        self._note("restart", node_id)

    def create_topic(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str] | None = None) -> None:
        self._note("create_topic", name, partitions, replication_factor, dict(configs or {}))

    def delete_topic(self, name: str) -> None:
        self._note("delete_topic", name)

    def isolate(self, a: object, b: object = None) -> None:
        self._note("isolate", a, b)

    def cut(self, a: object, b: object) -> None:
        self._note("cut", a, b)

    def delay(self, a: object, b: object, ms: float, jitter: float = 0.0, *, one_way: bool = False) -> None:
        self._note("delay", a, b, ms, jitter, one_way)

    def lose(self, a: object, b: object, probability: float, *, one_way: bool = False) -> None:
        self._note("lose", a, b, probability, one_way)

    def slow(self, a: object, b: object, bytes_per_second: float, *, one_way: bool = False) -> None:
        self._note("slow", a, b, bytes_per_second, one_way)

    def heal(self, a: object = None, b: object = None) -> None:
        self._note("heal", a, b)

    def jump_clock(self, node_id: int, seconds: float) -> None:
        self._note("jump_clock", node_id, seconds)

    def power_loss(self, node_id: int, torn_tail_bytes: int = 0) -> None:
        self._note("power_loss", node_id)

    def fill_disk(self, node_id: int, directory: int | None = None, free_bytes: int = 0) -> None:
        self._note("fill_disk", node_id, directory)

    def break_disk(self, node_id: int, directory: int | None = None, kind: str = "broken") -> None:
        self._note("break_disk", node_id, directory, kind)

    def heal_disk(self, node_id: int) -> None:
        self._note("heal_disk", node_id)

    def add_controller(self) -> int:
        self._note("add_controller")
        return 104

    def remove_controller(self, node_id: int) -> None:
        self._note("remove_controller", node_id)

    def elect_leaders(self, partitions: Sequence[tuple[str, int]] | None = None, *, unclean: bool = False) -> None:
        self._note("elect_leaders", partitions, unclean)

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None) -> None:
        self._note("reassign", topic, partition, replicas)


class NotingTraffic:
    """Stands in for the workload."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.is_running = False
        self.rate_per_s = 200.0
        self.acks = "all"
        self.acknowledged = 1_234
        self.failed = 0
        self.consumed = 1_200
        self.last_error = ""

    @property
    def running(self) -> bool:
        return self.is_running

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def close(self) -> object:
        self.stop()
        return True

    def set_rate(self, rate_per_s: float) -> None:
        self.rate_per_s = rate_per_s

    def set_acks(self, acks: str) -> None:
        self.acks = acks

    def status(self) -> object:
        return self
