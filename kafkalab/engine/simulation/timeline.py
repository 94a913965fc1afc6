"""A run as a file: what went wrong, what was done to the cluster, and every event that its nodes told of.

JSON, one object: ``seed``, ``settings``, ``verdict``, ``detail``, ``episodes``, ``notes`` and ``events``. Events have
their own times (``at_ms``, of the node's wall clock) and the true one (``time_ms``, virtual time since the start).
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from kafkalab.engine.simulation.nemesis import Episode
from kafkalab.engine.simulation.run import Outcomes, RunSettings
from kafkalab.engine.telemetry import events as event_types
from kafkalab.engine.telemetry.events import Event

FORMAT: Final = "kafkalab-timeline"
VERSION: Final = 1


class TimelineError(Exception):
    """A file is no timeline; the sentence says why."""


class Timeline(NamedTuple):
    """What a file holds."""

    seed: int
    settings: RunSettings
    verdict: str
    detail: str
    episodes: list[Episode]
    notes: list[tuple[float, str]]
    events: list[tuple[float, Event]]


def write_timeline(path: Path, outcomes: Outcomes, settings: RunSettings) -> None:
    """Write a run to a file.

    :raises OSError: when that cannot be done.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "seed": outcomes.seed,
        "settings": dataclasses.asdict(settings),
        "verdict": outcomes.verdict,
        "detail": outcomes.detail,
        "virtual_ms": round(outcomes.virtual_ms, 3),
        "digest": outcomes.digest,
        "episodes": [episode.as_json() for episode in outcomes.episodes],
        "notes": [{"time_ms": round(at_ms, 3), "what": what} for at_ms, what in outcomes.notes],
        "events": [
            {"time_ms": round(happening.at_ms, 3), "event": type(happening.event).__name__, **_plain(dataclasses.asdict(happening.event))}
            for happening in outcomes.happenings
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_timeline(path: Path) -> Timeline:
    """Read a run from a file.

    :raises TimelineError: when it holds none.
    :raises OSError: when it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise TimelineError(f"{path} is a {content['format']} of version {content['version']}; this reads {FORMAT} {VERSION}")
        settings = dict(content["settings"])
        settings["kinds"] = tuple(settings["kinds"])
        return Timeline(
            seed=int(content["seed"]),
            settings=RunSettings(**settings),
            verdict=str(content["verdict"]),
            detail=str(content["detail"]),
            episodes=[Episode(**{**episode, "nodes": tuple(episode["nodes"])}) for episode in content["episodes"]],
            notes=[(float(note["time_ms"]), str(note["what"])) for note in content["notes"]],
            events=[(float(entry["time_ms"]), _event(entry)) for entry in content["events"]],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise TimelineError(f"{path} is no timeline of a simulation: {type(e).__name__} {e}") from None


def lines(timeline: Timeline) -> Iterator[str]:
    """The timeline for people to read: what was done, marked with ``>``, among what happened."""
    entries: list[tuple[float, int, str]] = [(at_ms, 0, f"> {what}") for at_ms, what in timeline.notes]
    entries += [(at_ms, 1, _sentence(event)) for at_ms, event in timeline.events]
    for at_ms, _, what in sorted(entries, key=lambda entry: entry[:2]):
        yield f"{at_ms:12.3f} {what}"
    yield f"seed {timeline.seed}: {timeline.detail or 'nothing was wrong'}"


def _sentence(event: Event) -> str:
    fields = {key: value for key, value in dataclasses.asdict(event).items() if key not in ("at_ms", "node_id")}
    told = " ".join(f"{key}={value}" for key, value in fields.items() if value not in ("", None, ()))
    return f"  node {event.node_id} {type(event).__name__} {told}"


def _event(entry: dict[str, Any]) -> Event:
    kind = getattr(event_types, str(entry["event"]), None)
    if not isinstance(kind, type) or not issubclass(kind, Event):
        raise ValueError(f"unknown event {entry['event']}")
    fields = {key: _tuples(value) for key, value in entry.items() if key not in ("event", "time_ms")}
    return kind(**fields)


def _plain(value: Any) -> Any:
    """What JSON can say."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value) if isinstance(value, (uuid.UUID, Path)) else repr(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
