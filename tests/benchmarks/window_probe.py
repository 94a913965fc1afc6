"""The real window over its real cluster: memory when idle, and how evenly it draws under load; prints one JSON line.

python window_probe.py [SECONDS]

As in the program: three controllers and three brokers in a child process, the window in this one (on Qt's offscreen
platform unless QT_QPA_PLATFORM says otherwise) with its Cluster view in motion. Memory is that of both. The load is the
built-in traffic at a high rate and, from another process, librdkafka's batches (see load.py: 1 KB records, RF 3,
acks=all).

A frame's time runs from the moment it was due to the end of its painting: it contains the wait for the interpreter's
lock and for whatever else kept the Qt thread, and a frame that came so late that others fell out counts from the first
of these. Beside it stand how late an unrelated timer of the same thread was, and the window's own figure (the status
bar's), which counts the work of drawing alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402  found once the path is set
from PySide6.QtCore import QObject, QSettings, Qt, QTimer  # noqa: E402

from kafkalab.app import AppOptions, Program, run  # noqa: E402
from kafkalab.ui.bridge.command_gateway import CommandResult  # noqa: E402
from kafkalab.ui.main_window import HEIGHT, WIDTH  # noqa: E402
from kafkalab.ui.scene.cluster_view import ANIMATION_INTERVAL_MS  # noqa: E402

LOAD = Path(__file__).with_name("load.py")
TOPIC = "probe"
IDLE_MS = 6_000
SETTLE_MS = 2_000
WATCH_MS = 12_000
BEAT_MS = 10
TRAFFIC_PER_S = 5_000.0
RECORDS_PER_ROUND = 300_000
RECORD_BYTES = 1_000


class Lateness(QObject):
    """How late a timer of the Qt thread comes."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.late_ms: list[float] = []
        self._due = 0.0
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)

    def start(self) -> None:
        self._due = time.perf_counter() + BEAT_MS / 1000
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.late_ms.append(max(now - self._due, 0.0) * 1000)
        self._due = next_due(self._due, now, BEAT_MS / 1000)


class Frames:
    """From due to painted, for each frame of the Cluster view."""

    def __init__(self, program: Program) -> None:
        self.took_ms: list[float] = []
        self.work_ms: list[float] = []
        self._view = program.window.cluster_view
        self._due = 0.0
        self._waiting_since = 0.0
        self._watching = False
        self._view.frame_due.connect(self._tick)
        self._view.painted.connect(self._painted)

    def start(self) -> None:
        self._due = time.perf_counter() + ANIMATION_INTERVAL_MS / 1000
        self._waiting_since = 0.0
        self._watching = True

    def stop(self) -> None:
        self._watching = False

    def _tick(self) -> None:
        if self._watching:
            now = time.perf_counter()
            self._waiting_since = self._waiting_since or min(self._due, now)
            self._due = next_due(self._due, now, ANIMATION_INTERVAL_MS / 1000)

    def _painted(self, work_ms: float) -> None:
        if self._watching:
            self.work_ms.append(work_ms)
            if self._waiting_since:
                self.took_ms.append((time.perf_counter() - self._waiting_since) * 1000)
                self._waiting_since = 0.0


def next_due(due: float, now: float, period_s: float) -> float:
    """The first moment of the beat after now: beats that fell out are not served later."""
    missed = max(int((now - due) / period_s), 0)
    return due + (missed + 1) * period_s


def busy_s() -> float:
    """Seconds of processor time that the whole machine has spent."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def percentile(values: list[float], share: float = 0.99) -> float:
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 2) if ordered else -1.0


def resident_mb(besides: set[int]) -> float:
    """What this process and its children have in memory, but for some."""
    own = psutil.Process()
    processes = [own, *(child for child in own.children(recursive=True) if child.pid not in besides)]
    return round(sum(process.memory_info().rss for process in processes) / 1e6, 1)


def program_cpu_s(besides: set[int]) -> tuple[float, float]:
    """Seconds of processor time of this process, and of its children but for some."""
    own = psutil.Process()
    times = [process.cpu_times() for process in own.children(recursive=True) if process.pid not in besides]
    mine = own.cpu_times()
    return mine.user + mine.system, sum(child.user + child.system for child in times)


class Probe(QObject):
    """The course of the measurement, step by step in the Qt thread."""

    def __init__(self, program: Program, watch_ms: int) -> None:
        super().__init__(program)
        self._program = program
        self._watch_ms = watch_ms
        # The offscreen platform's screen is smaller than the window a person gets.
        program.window.resize(WIDTH, HEIGHT)
        self._lateness = Lateness(self)
        self._frames = Frames(program)
        self._load: subprocess.Popen[str] | None = None
        self._load_pids: set[int] = set()
        self._load_s = 0.0
        self._round_s = 0.0
        self.result: dict[str, object] = {}
        program.gateway.finished.connect(self._finished)

    def _finished(self, result: CommandResult) -> None:
        assert result.failure is None, str(result.failure)
        if result.command.name == "start_cluster":
            QTimer.singleShot(IDLE_MS, self._idle)
        elif result.command.name == "create_topic":
            self._program.gateway.set_workload_rate(TRAFFIC_PER_S)
            self._program.gateway.start_workload()
        elif result.command.name == "start_workload":
            self._start_load()
            QTimer.singleShot(SETTLE_MS, self._watch)

    def _idle(self) -> None:
        self.result["idle_resident_mb"] = resident_mb(set())
        self._program.gateway.create_topic(TOPIC, 3, 3)

    def _start_load(self) -> None:
        bootstrap = self._program.gateway.bootstrap_servers()
        command = [sys.executable, str(LOAD), "batch", bootstrap, TOPIC, str(RECORDS_PER_ROUND), str(RECORD_BYTES), "all"]
        self._load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._load_pids.add(self._load.pid)

    def _watch(self) -> None:
        self._records_before = self._records()
        self._cpu_before = program_cpu_s(self._load_pids)
        self._machine_before = busy_s()
        self._load_s = 0.0
        self._began = time.perf_counter()
        self._lateness.start()
        self._frames.start()
        self._round_check = QTimer(self)
        self._round_check.setInterval(200)
        self._round_check.timeout.connect(self._keep_loaded)
        self._round_check.start()
        QTimer.singleShot(self._watch_ms, self._end)

    def _records(self) -> int:
        topics = self._program.cluster.topics
        return sum(partition.log_end_offset for partition in topics[TOPIC].partitions.values()) if TOPIC in topics else 0

    def _keep_loaded(self) -> None:
        """One round of the load after the other, until the end."""
        assert self._load is not None
        try:
            times = psutil.Process(self._load.pid).cpu_times()
            self._round_s = times.user + times.system
        except psutil.NoSuchProcess:
            pass
        if self._load.poll() is not None:
            self._load_s += self._round_s
            self._start_load()

    def _end(self) -> None:
        self._frames.stop()
        self._lateness.stop()
        self._round_check.stop()
        seconds = time.perf_counter() - self._began
        window_s, cluster_s = (now - before for now, before in zip(program_cpu_s(self._load_pids), self._cpu_before, strict=True))
        own_s = window_s + cluster_s
        others_s = busy_s() - self._machine_before - own_s - self._load_s - self._round_s
        window = self._program.window
        assert window.cluster_view.isVisible()
        self.result |= {
            "frame_p99_ms": percentile(self._frames.took_ms),
            "frame_p50_ms": percentile(self._frames.took_ms, 0.5),
            "frame_max_ms": percentile(self._frames.took_ms, 1.0),
            "frames": len(self._frames.took_ms),
            "frames_per_second": round(len(self._frames.took_ms) / seconds, 1),
            "timer_lateness_p99_ms": percentile(self._lateness.late_ms),
            "paint_p99_ms": percentile(self._frames.work_ms),
            "own_meter_p99_ms": round(self._program.pump.meter.percentile_ms(), 2),
            "loaded_resident_mb": resident_mb(self._load_pids),
            "load_mb_per_second": round((self._records() - self._records_before) * RECORD_BYTES / seconds / 1e6, 1),
            "cores_used": round(own_s / seconds, 2),
            "cores_used_by_window": round(window_s / seconds, 2),
            "cores_used_by_load": round((self._load_s + self._round_s) / seconds, 2),
            # What else ran on the machine: a figure taken beside much of it says little.
            "cores_used_by_others": round(max(others_s, 0.0) / seconds, 2),
        }
        if self._load is not None:
            self._load.terminate()
            self._load.wait(30)
        window.close()


def main() -> None:
    watch_ms = int(float(sys.argv[1]) * 1000) if len(sys.argv) > 1 else WATCH_MS
    probes: list[Probe] = []
    with tempfile.TemporaryDirectory(prefix="kafkalab-probe-") as folder:
        settings_file = Path(folder) / "window.ini"
        settings = QSettings(str(settings_file), QSettings.Format.IniFormat)
        settings.setValue("traffic", False)
        settings.sync()
        options = AppOptions(data_dir=Path(folder) / "data", port=0)
        status = run(options, settings_file=settings_file, on_shown=lambda program: probes.append(Probe(program, watch_ms)))
    assert status == 0, f"the program ended with {status}"
    print(json.dumps(probes[0].result), flush=True)


if __name__ == "__main__":
    main()
