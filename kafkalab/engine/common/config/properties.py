"""Settings as people write them: ``KEY=VALUE`` on a command line, and ``server.properties``.

The file's form is Java's: ``#`` and ``!`` begin comments, ``=``, ``:`` or a blank parts key from
value, a backslash at the end of a line continues it, and ``\\uXXXX`` is a character.
"""

from __future__ import annotations

import re
from typing import Final

from kafkalab.engine.common.config.definition import ConfigError

_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_UNICODE_ESCAPE: Final = re.compile(r"[0-9a-fA-F]{4}")
_BLANKS: Final = " \t\f"


def parse_key_value(text: str) -> tuple[str, str]:
    """Split ``KEY=VALUE``.

    :raises ConfigError: when there is no key or no ``=``.
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not key:
        raise ConfigError(key, None, f"{text!r} is not of the form KEY=VALUE")
    return key, value.strip()


def parse_properties(text: str, source: str = "server.properties") -> dict[str, str]:
    """Read a properties file; the last of several lines with one key counts, as in Java.

    :param source: what to call the file in an error.
    :raises ConfigError: on a line that cannot be read; it says which.
    """
    settings: dict[str, str] = {}
    for line_number, line in _logical_lines(text):
        key, value = _split(line, source, line_number)
        settings[key] = value
    return settings


def _logical_lines(text: str) -> list[tuple[int, str]]:
    lines: list[tuple[int, str]] = []
    started_at = 0
    pending: str | None = None
    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        line = raw.lstrip(_BLANKS)
        if pending is None:
            if not line or line[0] in "#!":
                continue
            started_at, pending = number, ""
        trailing = len(line) - len(line.rstrip("\\"))
        if trailing % 2:
            pending += line[:-1]
            continue
        lines.append((started_at, pending + line))
        pending = None
    if pending:
        lines.append((started_at, pending))
    return lines


def _split(line: str, source: str, line_number: int) -> tuple[str, str]:
    end = 0
    while end < len(line) and line[end] not in "=: \t\f":
        end += 2 if line[end] == "\\" else 1
    rest = line[end:].lstrip(_BLANKS)
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(_BLANKS)
    key = _unescape(line[:end], source, line_number)
    if not key:
        raise ConfigError("", None, f"{source}, line {line_number}: {line!r} has no key")
    return key, _unescape(rest, source, line_number)


def _unescape(text: str, source: str, line_number: int) -> str:
    if "\\" not in text:
        return text
    out: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char != "\\" or position == len(text):
            out.append(char)
            continue
        char = text[position]
        position += 1
        if char != "u":
            out.append(_ESCAPES.get(char, char))
            continue
        digits = _UNICODE_ESCAPE.match(text, position)
        if digits is None:
            raise ConfigError("", None, f"{source}, line {line_number}: \\u must be followed by four hexadecimal digits")
        out.append(chr(int(digits.group(), 16)))
        position = digits.end()
    return "".join(out)
