"""The desktop program: puts window, model, bridge and cluster together, and takes them apart again.

The window is painted first; the cluster has a process of its own, which loads the engine meanwhile, and shows itself
as it comes up: nodes that have work and frames that are due do not take turns.
Leaving stops the cluster in order while the window tells how far it is; whoever does not want to wait can say so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import platformdirs
from PySide6.QtCore import QObject, QSettings, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from kafkalab.engine.cluster.errors import ClusterStartError, DataDirInUse, HostError, PortInUse
from kafkalab.engine.cluster.remote_host import RemoteClusterHost, dismiss, spawn_host_process
from kafkalab.engine.telemetry.events import Event
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import Level, LevelKey
from kafkalab.ui.bridge.command_gateway import CommandGateway, CommandResult
from kafkalab.ui.bridge.event_pump import EventPump
from kafkalab.ui.bridge.frame_meter import FrameMeter
from kafkalab.ui.main_window import MainWindow
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.workload.remote import RemoteWorkload

if TYPE_CHECKING:
    from kafkalab.engine.cluster.host import Isolation
    from kafkalab.engine.cluster.links import Party
    from kafkalab.engine.telemetry.hub import Reader

_log = logging.getLogger(__name__)

NAME: Final = "kafkalab"
PORT: Final = 9092
FIRST_PAINT_MS: Final = 30
"""The window gets this long to appear before its cluster is started."""
CLOSE_TIMEOUT_S: Final = 60.0
"""An orderly end that takes longer is given up: nodes are killed, files are recovered at the next start."""
KILLED_TIMEOUT_S: Final = 10.0
GOODBYE_TIMEOUT_S: Final = 2.0
SIGNALS_CHECKED_MS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOptions:
    """What the command line says; None takes what is kept or the default."""

    data_dir: Path | None = None
    port: int = PORT
    brokers: int = 3
    controllers: int = 3
    combined: bool = False
    config: Mapping[str, str] = field(default_factory=dict)
    isolation: Isolation = "thread"
    log_dirs: int = 1

    @property
    def folder(self) -> Path:
        """Where the nodes keep their files."""
        return self.data_dir if self.data_dir is not None else default_data_dir()


def default_data_dir() -> Path:
    """The cluster of the user who says nothing else."""
    return Path(platformdirs.user_data_dir(NAME, appauthor=False)) / "cluster"


def settings_path() -> Path:
    """Where the window remembers its layout."""
    return Path(platformdirs.user_config_dir(NAME, appauthor=False)) / "window.ini"


class LateReader:
    """The hub's reader, once there is a hub: before that nothing has happened."""

    def __init__(self) -> None:
        self._reader: Reader | None = None

    def attach(self, hub: TelemetryHub) -> None:
        """From now on it reads from here, if it does not yet."""
        if self._reader is None:
            self._reader = hub.open_reader()

    def drain(self, events_max: int = 1_000, /) -> tuple[list[Event], Mapping[LevelKey, Level | None], int]:
        """Everything new."""
        reader = self._reader
        return ([], {}, 0) if reader is None else reader.drain(events_max)


class LateHost:
    """The cluster host, made when it is started.

    A start that failed before anything ran (a busy port, a folder in use) can be tried again, with other options, and
    so can one whose process died.

    :param process: a child for the first start that is loading the engine already.
    """

    def __init__(self, options: AppOptions, reader: LateReader, process: subprocess.Popen[bytes] | None = None) -> None:
        self.options = options
        self.failure: HostError | None = None
        """Why the last start did not succeed."""
        self.on_ended: Callable[[str], None] = lambda why: None
        """Told from any thread when the cluster's process died."""
        self._reader = reader
        self._process = process
        self._hub = TelemetryHub()
        self._host: RemoteClusterHost | None = None
        self._closing = threading.Event()
        self._starting = threading.Lock()

    @property
    def may_start(self) -> bool:
        """Nothing runs: a start can be tried."""
        host = self._host
        return (host is None or not host.is_alive) and not self._closing.is_set()

    def start(self) -> None:
        """Make the host, start every node."""
        with self._starting:
            if self._closing.is_set():
                raise HostError("The window is closing.")
            if not self.may_start:
                raise HostError("The cluster runs already.")
            if self._host is not None:
                self._host.close()
            process, self._process = self._process, None
            options = self.options
            host = RemoteClusterHost(
                options.brokers,
                options.controllers,
                options.combined,
                options.port,
                options.folder,
                options.config,
                options.isolation,
                log_dirs=options.log_dirs,
                process=process,
                hub=self._hub,
                on_ended=lambda why: self.on_ended(why),
            )
            self._reader.attach(self._hub)
            self._host, self.failure = host, None
            try:
                host.start()
            except HostError as error:
                self.failure = error
                if not isinstance(error, ClusterStartError):
                    # Nothing was started. Where only some nodes did not, the others run, and the window shows which.
                    self._host = None
                    host.close()
                raise

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until records can be written."""
        self.running().wait_until_ready(timeout)

    def kill(self, node_id: int) -> None:
        """End a node without a goodbye."""
        self.running().kill(node_id)

    def stop(self, node_id: int) -> None:
        """Controlled shutdown."""
        self.running().stop(node_id)

    def pause(self, node_id: int) -> None:
        """Let it stop answering."""
        self.running().pause(node_id)

    def resume(self, node_id: int) -> None:
        """Let it go on."""
        self.running().resume(node_id)

    def restart(self, node_id: int) -> None:
        """Start it again."""
        self.running().restart(node_id)

    def create_topic(self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic."""
        self.running().create_topic(name, partitions, replication_factor, configs)

    def delete_topic(self, name: str) -> None:
        """Delete a topic."""
        self.running().delete_topic(name)

    def isolate(self, a: Party, b: Party | None = None) -> None:
        """Cut a link both ways, or all links to other nodes."""
        self.running().isolate(a, b)

    def cut(self, a: Party, b: Party) -> None:
        """Cut one way."""
        self.running().cut(a, b)

    def delay(self, a: Party, b: Party, ms: float, jitter: float = 0.0, *, one_way: bool = False) -> None:
        """Let bytes come late."""
        self.running().delay(a, b, ms, jitter, one_way=one_way)

    def lose(self, a: Party, b: Party, probability: float, *, one_way: bool = False) -> None:
        """Let bytes have to be sent again."""
        self.running().lose(a, b, probability, one_way=one_way)

    def slow(self, a: Party, b: Party, bytes_per_second: float, *, one_way: bool = False) -> None:
        """Let few bytes through."""
        self.running().slow(a, b, bytes_per_second, one_way=one_way)

    def heal(self, a: Party | None = None, b: Party | None = None) -> None:
        """Let links be right again."""
        self.running().heal(a, b)

    def jump_clock(self, node_id: int, seconds: float) -> None:
        """Set a wall clock."""
        self.running().jump_clock(node_id, seconds)

    def power_loss(self, node_id: int, torn_tail_bytes: int = 0) -> None:
        """End a node and lose what it had not synced."""
        self.running().power_loss(node_id, torn_tail_bytes)

    def fill_disk(self, node_id: int, directory: int | None = None, free_bytes: int = 0) -> None:
        """Let its disk be full."""
        self.running().fill_disk(node_id, directory, free_bytes)

    def break_disk(self, node_id: int, directory: int | None = None, kind: str = "broken") -> None:
        """Let its disk fail."""
        self.running().break_disk(node_id, directory, kind)

    def heal_disk(self, node_id: int) -> None:
        """Let its disks be right again."""
        self.running().heal_disk(node_id)

    def add_controller(self) -> int:
        """Start one more controller that votes."""
        return self.running().add_controller()

    def remove_controller(self, node_id: int) -> None:
        """Let a controller vote no more, and stop it."""
        self.running().remove_controller(node_id)

    def elect_leaders(self, partitions: Sequence[tuple[str, int]] | None = None, *, unclean: bool = False) -> None:
        """Elect preferred leaders, or any."""
        self.running().elect_leaders(partitions, unclean=unclean)

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None) -> None:
        """Move replicas."""
        self.running().reassign(topic, partition, replicas)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return self.running().bootstrap_servers

    def close(self) -> None:
        """Stop everything in order. Returns when it is done."""
        self._closing.set()
        with self._starting:
            process, self._process = self._process, None
        if process is not None:
            dismiss(process)
        host = self._host
        if host is not None:
            host.close()

    def kill_all(self) -> None:
        """End everything at once."""
        self._closing.set()
        host = self._host
        if host is not None:
            host.kill_all()

    def running(self) -> RemoteClusterHost:
        """The present host.

        :raises HostError: when there is none.
        """
        host = self._host
        if host is None:
            raise HostError("The cluster is not running.")
        return host


class Program(QObject):
    """One run of the program, from the first picture to the last node's end."""

    _cluster_ended = Signal(str)

    def __init__(self, app: QApplication, options: AppOptions, settings: QSettings, process: subprocess.Popen[bytes] | None = None) -> None:
        super().__init__()
        self._app = app
        self._settings = settings
        self._reader = LateReader()
        self.host = LateHost(options, self._reader, process)
        self.host.on_ended = self._cluster_ended.emit
        self._cluster_ended.connect(self._tell_end, Qt.ConnectionType.QueuedConnection)
        self.cluster = ClusterModel()
        self._expect_nodes(options)
        meter = FrameMeter()
        self.gateway = CommandGateway(self.host, lambda _: RemoteWorkload(self.host.running), self, node_name=self.cluster.node_name)
        self.pump = EventPump(self._reader, self.cluster, meter=meter, parent=self)
        self.window = MainWindow(self.cluster, self.gateway, settings, meter=meter)
        self.pump.changed.connect(self.window.apply)
        self.gateway.finished.connect(self._command_finished)
        self.window.closing.connect(self._begin_closing)
        self.window.quit_now.connect(self._quit_now)
        self._start_again = self.window.registry.add("cluster.start", "Start the cluster", self.start_cluster, in_palette=False)
        self._done: asyncio.Future[int] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Show the window, start the cluster, and wait until the window is left. The exit status."""
        self._done = asyncio.get_running_loop().create_future()
        self.window.show()
        self.pump.start()
        QTimer.singleShot(FIRST_PAINT_MS, self.start_cluster)
        status = await self._done
        self.pump.stop()
        return status

    def start_cluster(self) -> None:
        """Start every node, beside the window."""
        self.window.stage.banner.dismiss()
        self.gateway.start_cluster()

    def _expect_nodes(self, options: AppOptions) -> None:
        from kafkalab.engine.cluster.layout import BROKER, CONTROLLER, roles_of_nodes

        for node_id, roles in roles_of_nodes(options.brokers, options.controllers, combined=options.combined).items():
            self.cluster.expect_node(node_id, is_broker=BROKER in roles, is_controller=CONTROLLER in roles)

    def _command_finished(self, result: CommandResult) -> None:
        command = result.command
        if command.name == "start_cluster":
            self._cluster_started(result)
        elif command.name in ("start_workload", "stop_workload") and result.ok:
            # Off by a click, and off it stays at the next start.
            self._settings.setValue("traffic", command.name == "start_workload")

    def _cluster_started(self, result: CommandResult) -> None:
        if self._closing is not None:
            return
        failure = result.failure
        if failure is None:
            if self._settings.value("traffic", True) in (True, "true"):
                self.gateway.start_workload()
            return
        # The window has said what went wrong; here is the way on.
        error = self.host.failure
        if isinstance(error, PortInUse) and error.proposed_port is not None:
            self.host.options = replace(self.host.options, port=error.proposed_port)
            self._start_again.setText(f"Start on port {error.proposed_port}")
        elif isinstance(error, DataDirInUse):
            self._start_again.setText("Try again")
        else:
            self._start_again.setText("Start again")
        offered = self._start_again if self.host.may_start else None
        if offered is not None:
            self.window.apply(self.cluster.nothing_started())
        self.window.tell(str(failure), error=True, action=offered)

    def _tell_end(self, why: str) -> None:
        if self._closing is None and self.host.may_start:
            self._start_again.setText("Start again")
            self.window.tell(f"{why} Its nodes are gone with it.", error=True, action=self._start_again)

    # --- leaving ---------------------------------------------------------------------------------------------

    def _begin_closing(self) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="kafkalab-close")

    async def _close(self) -> None:
        """Traffic first, then brokers, then controllers; the window paints meanwhile."""
        ended = _in_thread(self._end_all, name="kafkalab-closing")
        try:
            await asyncio.wait_for(asyncio.shield(ended), CLOSE_TIMEOUT_S)
        except TimeoutError:
            _log.error("the cluster did not end within %s s: killing it", CLOSE_TIMEOUT_S)
            self._quit_now()
            try:
                await asyncio.wait_for(asyncio.shield(ended), KILLED_TIMEOUT_S)
            except TimeoutError:
                _log.error("some node did not even end when killed")
        except Exception:
            _log.exception("closing failed")
        self.window.finish_closing()
        if self._done is not None and not self._done.done():
            self._done.set_result(0)

    def _end_all(self) -> None:
        # The traffic says goodbye while there is somebody to say it to. A command under way (a controlled shutdown,
        # say) may take longer than that: the host ends it.
        commands = threading.Thread(target=self.gateway.close, name="kafkalab-gateway-close", daemon=True)
        commands.start()
        commands.join(GOODBYE_TIMEOUT_S)
        self.host.close()
        commands.join(GOODBYE_TIMEOUT_S)

    def _quit_now(self) -> None:
        threading.Thread(target=self.host.kill_all, name="kafkalab-kill-all", daemon=True).start()


def _in_thread(job: Callable[[], None], *, name: str) -> asyncio.Future[None]:
    """Run a job in a thread of its own, one that does not keep the interpreter from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            job()
        except Exception as e:  # handed to whoever awaits it
            error = e
        loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return done


@contextmanager
def _signals_leave(window: MainWindow) -> Iterator[None]:
    """SIGTERM and SIGINT are wishes to leave, like the window's own button."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)]

    def leave(_number: int, _frame: FrameType | None) -> None:
        QTimer.singleShot(0, window.leave)

    before = {number: signal.signal(number, leave) for number in numbers}
    # Qt's loop hands no control to Python's signal handlers by itself.
    waker = QTimer()
    waker.setInterval(SIGNALS_CHECKED_MS)
    waker.timeout.connect(lambda: None)
    waker.start()
    try:
        yield
    finally:
        waker.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    options: AppOptions | None = None,
    arguments: Sequence[str] = (),
    *,
    settings_file: Path | None = None,
    on_shown: Callable[[Program], None] | None = None,
    process: subprocess.Popen[bytes] | None = None,
) -> int:
    """The program. Returns the exit status. ``on_shown`` is called once the window stands.

    ``process`` is the cluster's, if it was started before this module was loaded.
    """
    process = process if process is not None else spawn_host_process()
    import qasync

    QGuiApplication.setDesktopFileName(NAME)
    app = QApplication.instance()
    if not isinstance(app, QApplication):
        app = QApplication([NAME, *arguments])
    app.setApplicationName("KafkaLab")
    app.setStyle("Fusion")
    app.setAttribute(Qt.ApplicationAttribute.AA_DontShowIconsInMenus)
    # The window's own end decides, not the closing of a dialog.
    app.setQuitOnLastWindowClosed(False)
    path = settings_file if settings_file is not None else settings_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = QSettings(str(path), QSettings.Format.IniFormat)
    # The client library reports each lost connection; the window shows them, and the true cause with it.
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    try:
        with loop:
            program = Program(app, options or AppOptions(), settings, process)
            with _signals_leave(program.window):
                if on_shown is not None:
                    on_shown(program)
                return int(loop.run_until_complete(program.run()))
    finally:
        asyncio.set_event_loop(None)


def main(
    *,
    data_dir: Path | None = None,
    port: int | None = None,
    brokers: int | None = None,
    controllers: int | None = None,
    combined: bool = False,
    config: Mapping[str, str] | None = None,
    isolation: Isolation = "thread",
    log_dirs: int = 1,
    process: subprocess.Popen[bytes] | None = None,
) -> int:
    """The program with what the command line says, and where that is silent, the environment."""
    given = options_from_environment(os.environ)
    return run(
        replace(
            given,
            data_dir=data_dir if data_dir is not None else given.data_dir,
            port=port if port is not None else given.port,
            brokers=brokers if brokers is not None else given.brokers,
            controllers=controllers if controllers is not None else given.controllers,
            combined=combined,
            config=dict(config or {}),
            isolation=isolation,
            log_dirs=log_dirs,
        ),
        process=process,
    )


def options_from_environment(environment: Mapping[str, str]) -> AppOptions:
    """``KAFKALAB_DATA_DIR``, ``KAFKALAB_PORT``, ``KAFKALAB_BROKERS``, ``KAFKALAB_CONTROLLERS``."""
    options = AppOptions()
    folder = environment.get("KAFKALAB_DATA_DIR")
    if folder:
        options = replace(options, data_dir=Path(folder))
    for name in ("port", "brokers", "controllers"):
        text = environment.get(f"KAFKALAB_{name.upper()}")
        if text:
            try:
                options = replace(options, **{name: int(text)})  # type: ignore[arg-type]  # the names are those of numbers
            except ValueError:
                sys.exit(f"KAFKALAB_{name.upper()} was {text!r}; it must be a number.")
    return options
