"""A node's directories before anything else is opened, and its thread for the disk."""

from __future__ import annotations

import asyncio
import threading
import uuid
from pathlib import Path
from random import Random

import pytest

from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.dir_lock import DirLocked
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.meta_properties import MetaProperties
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.server.disk_worker import DiskWorker
from kafkalab.engine.server.node_dirs import ForeignDirectory, NodeDirectories
from kafkalab.engine.simulation.storage import MemoryStorage


def open_node(root: Path, count: int, *, node_id: int = 1, storage: FaultyStorage | None = None) -> tuple[NodeDirectories, uuid.UUID]:
    paths = (root,) if count == 1 else tuple(root / f"dir-{number}" for number in range(1, count + 1))
    directories = NodeDirectories(root, paths)
    try:
        return directories, directories.open(storage or FaultyStorage(), cluster_id="c", node_id=node_id, rng=Random(count))
    finally:
        directories.release()


@pytest.mark.parametrize("count", [1, 3])
def test_new_directories_are_formatted_and_keep_their_ids(tmp_path: Path, count: int) -> None:
    first, metadata_id = open_node(tmp_path / "node", count)
    again, same_id = open_node(tmp_path / "node", count)
    assert metadata_id == same_id == first.ids[first.metadata_dir] and first.ids == again.ids and len(set(first.ids.values())) == count


def test_a_directory_of_before_directories_had_ids_gets_one_and_keeps_it(tmp_path: Path) -> None:
    file = tmp_path / "meta.properties"
    file.write_text("#\n#Mon Jan 01 00:00:00 UTC 2024\ncluster.id=c\nversion=1\nnode.id=1\n")
    with pytest.raises(StorageError, match=r"directory\.id is missing"):
        MetaProperties.read(file)
    _, made = open_node(tmp_path, 1)
    assert MetaProperties.read(file).directory_id == made
    again = NodeDirectories(tmp_path, (tmp_path,))
    assert again.open(FaultyStorage(), cluster_id="c", node_id=1, rng=Random("other")) == made
    again.release()


@pytest.mark.expects_warnings
def test_each_but_the_first_may_fail(tmp_path: Path) -> None:
    before, _ = open_node(tmp_path, 3)
    storage = FaultyStorage(faults=[DiskFault(DiskFaultKind.BROKEN, str(tmp_path / "dir-2"))])
    directories, _ = open_node(tmp_path, 3, storage=storage)
    assert list(directories.failures) == [tmp_path / "dir-2"]
    assert directories.ids == {path: found for path, found in before.ids.items() if path.name != "dir-2"}
    (tmp_path / "dir-3" / "meta.properties").write_text("nonsense")
    directories, _ = open_node(tmp_path, 3)
    assert list(directories.failures) == [tmp_path / "dir-3"] and "meta.properties" in directories.failures[tmp_path / "dir-3"]
    storage.set_faults([DiskFault(DiskFaultKind.VANISHED, str(tmp_path / "dir-1"))])
    with pytest.raises((OSError, StorageError)):
        open_node(tmp_path, 3, storage=storage)


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    open_node(tmp_path, 2)
    with pytest.raises(ForeignDirectory, match="belongs to node 1, this one is 2"):
        open_node(tmp_path, 2, node_id=2)
    with pytest.raises(ForeignDirectory, match="several log directories"):
        open_node(tmp_path, 1)
    open_node(tmp_path / "single", 1)
    with pytest.raises(ForeignDirectory, match="one log directory"):
        open_node(tmp_path / "single", 2)
    copied = MetaProperties.read(tmp_path / "dir-1" / "meta.properties")
    copied.write(tmp_path / "dir-2" / "meta.properties")
    with pytest.raises(ForeignDirectory, match="is a copy of another"):
        open_node(tmp_path, 2)


def test_each_directory_is_locked(tmp_path: Path) -> None:
    directories = NodeDirectories(tmp_path, (tmp_path / "dir-1", tmp_path / "dir-2"))
    directories.open(FaultyStorage(), cluster_id="c", node_id=1, rng=Random(1))
    other = NodeDirectories(tmp_path / "elsewhere", (tmp_path / "dir-2",))
    with pytest.raises(DirLocked):
        other.open(FaultyStorage(), cluster_id="c", node_id=1, rng=Random(1))
    other.release()
    directories.release()


async def test_the_worker_calls_back_in_the_loop_and_in_order() -> None:
    loop = asyncio.get_running_loop()
    worker = DiskWorker(loop, "kafkalab-disk-test")
    told: list[tuple[int, OSError | None, bool]] = []
    finished = asyncio.Event()
    threads: set[str] = set()
    here = threading.current_thread()

    def work(number: int) -> None:
        threads.add(threading.current_thread().name)
        if number == 1:
            raise OSError("no")

    def done(number: int, error: OSError | None) -> None:
        told.append((number, error, threading.current_thread() is here))
        if number == 3:
            finished.set()

    for number in range(4):
        worker(lambda number=number: work(number), lambda error, number=number: done(number, error))  # type: ignore[misc]
    await finished.wait()
    assert [(number, error is not None, inside) for number, error, inside in told] == [(n, n == 1, True) for n in range(4)]
    assert threads == {"kafkalab-disk-test"}
    worker(lambda: None, lambda _error: told.append((9, None, True)))
    worker.close(wait=True)
    await asyncio.sleep(0)
    assert told[-1][0] == 3, "nobody is called back after the end"


def test_a_new_node_outlasts_a_power_cut() -> None:
    """A vote that was synced in a directory whose own name was not is forgotten, and given again."""
    storage = MemoryStorage(Random(1), lambda: 0)
    data_dir = Path("/data/deep/node-1")
    directories = NodeDirectories(data_dir, (data_dir / "dir-1", data_dir / "dir-2"), lock=lambda path: NoLock())
    directory_id = directories.open(storage, cluster_id="c", node_id=1, rng=Random(2))
    storage.lose_unsynced(0)
    again = NodeDirectories(data_dir, (data_dir / "dir-1", data_dir / "dir-2"), lock=lambda path: NoLock())
    assert again.open(storage, cluster_id="c", node_id=1, rng=Random(3)) == directory_id


class NoLock:
    """Nobody else is there."""

    def release(self) -> None:
        pass
