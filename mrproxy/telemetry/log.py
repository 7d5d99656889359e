"""Shell. The log: one line per event, JSON on a pipe, readable on a terminal.

1. It never pushes back. Before a line is written the descriptor is asked whether it takes one; a log reader that
   stalls (a full pipe to a collector) costs lines, which are counted, and never a token.
2. It never says what must not be said: values of fields with secret names are withheld and anything that looks like
   one of our keys is cut, so that a careless call leaks nothing. Headers and prompts have no business here at all.
3. Level error means that a human must act.
4. Events go to a file, too, where one is given (`log_file.py`); access lines do not.

Whoever logs declares what it needs as a Protocol and is given a `Log` by `app.py` or `supervisor.py`.
"""

import os
import re
import select
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mrproxy.clock import Clock
from mrproxy.link.records import JournalRecord
from mrproxy.telemetry.access import access_fields, access_lines, blocks
from mrproxy.telemetry.log_file import LogFile

Value = str | int | float | bool | None

SEVERITY = {"debug": 10, "info": 20, "warning": 30, "error": 40}
COLOUR = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[1;31m"}
RESET, DIM = "\x1b[0m", "\x1b[2m"

# POSIX: a pipe that polls writable takes PIPE_BUF (4096) bytes without blocking, and a write of no more is atomic,
# so lines of several processes on one pipe do not mix.
MAX_LINE_BYTES = 4096
MAX_VALUE_CHARACTERS = 1000

SECRET_NAMES = frozenset(
    {"authorization", "headers", "key", "api_key", "prompt", "messages", "body", "secret", "cookie"}
)
LOOKS_LIKE_A_KEY = re.compile(r"\b(mr_|sk-)[A-Za-z0-9_-]{8,}")
# In JSON a control character before it is an escape that ends in a letter or a digit.
LOOKS_LIKE_A_KEY_IN_JSON = re.compile(rb"(?:\b|(?<=\\[bfnrt])|(?<=\\u[0-9a-f]{4}))(mr_|sk-)[A-Za-z0-9_-]{8,}")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(slots=True)
class Losses:
    """Lines that the descriptor did not take; shared by a log and those bound to it."""

    lines: int = 0


@dataclass(frozen=True, slots=True)
class Log:
    """`component` is who speaks. `is_terminal` decides the form."""

    descriptor: int
    clock: Clock
    component: str
    level: str = "info"
    is_terminal: bool = False
    bound: tuple[tuple[str, Value], ...] = ()
    losses: Losses = field(default_factory=Losses)
    file: LogFile | None = None

    def bind(self, **fields: Value) -> "Log":
        """A log that adds these fields to every line."""
        return replace(self, bound=(*self.bound, *fields.items()))

    def at_level(self, level: str) -> "Log":
        return replace(self, level=level)

    def filed(self, directory: Path, max_bytes: int) -> "Log":
        """A log that keeps its events in `directory`, too."""
        return replace(self, file=LogFile(directory, self.component, max_bytes))

    def debug(self, event: str, **fields: Value) -> None:
        self.write("debug", event, fields)

    def info(self, event: str, **fields: Value) -> None:
        self.write("info", event, fields)

    def warning(self, event: str, **fields: Value) -> None:
        self.write("warning", event, fields)

    def error(self, event: str, **fields: Value) -> None:
        self.write("error", event, fields)

    def write(self, level: str, event: str, fields: dict[str, Value]) -> None:
        if SEVERITY[level] < SEVERITY[self.level]:
            return
        said = {name: said_value(name, value) for name, value in (*self.bound, *fields.items())}
        now_utc = self.clock()
        line = as_json(now_utc, level, self.component, event, said)
        if self.file is not None:
            self.file.append(line)
        self.write_line(for_terminal(now_utc, level, self.component, event, said) if self.is_terminal else line)

    def requests(self, records: Sequence[JournalRecord]) -> None:
        """Access lines, at level info; as many in one write as are atomic on a pipe."""
        if SEVERITY["info"] < SEVERITY[self.level]:
            return
        if self.is_terminal:
            unfiled = replace(self, file=None)
            for record in records:
                unfiled.info("request", **access_fields(record))
            return
        for block in blocks(said_lines(access_lines(records, self.component)), MAX_LINE_BYTES):
            self.write_line(block)

    def write_line(self, line: bytes) -> None:
        if not takes_a_line(self.descriptor):
            self.losses.lines += 1
            return
        try:
            os.write(self.descriptor, line)
        except OSError:  # the reader has gone; there is nobody to tell
            self.losses.lines += 1


def open_log(descriptor: int, clock: Clock, component: str, level: str = "info") -> Log:
    """A log on this descriptor, in the form that fits it: readable on a terminal, JSON elsewhere."""
    return Log(descriptor, clock, component, level, os.isatty(descriptor))


def takes_a_line(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))


def said_value(name: str, value: Value) -> Value:
    if name in SECRET_NAMES:
        return "[withheld]"
    if isinstance(value, str):
        return LOOKS_LIKE_A_KEY.sub(r"\1[withheld]", value[:MAX_VALUE_CHARACTERS])
    return value


def said_lines(lines: list[bytes]) -> list[bytes]:
    """Lines of JSON without what looks like a key. Looking for the marks first is ten times cheaper."""
    text = b"".join(lines)
    if b"mr_" in text or b"sk-" in text:
        return [LOOKS_LIKE_A_KEY_IN_JSON.sub(rb"\1[withheld]", line) for line in lines]
    return lines


def as_json(now_utc: float, level: str, component: str, event: str, fields: dict[str, Value]) -> bytes:
    at = datetime.fromtimestamp(now_utc, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = msgspec.json.encode({"at": at, "level": level, "component": component, "event": event} | fields)
    if len(line) >= MAX_LINE_BYTES:
        line = msgspec.json.encode({"at": at, "level": level, "component": component, "event": event, "cut": True})
    return line + b"\n"


def for_terminal(now_utc: float, level: str, component: str, event: str, fields: dict[str, Value]) -> bytes:
    """`12:30:01 warning supervisor  child ended  child=w1 code=1`, without control characters of strangers."""
    at = datetime.fromtimestamp(now_utc, UTC).astimezone().strftime("%H:%M:%S")
    pairs = " ".join(f"{name}={shown(value)}" for name, value in fields.items() if value is not None)
    colour, reset, dim = (COLOUR[level], RESET, DIM) if wants_colour() else ("", "", "")
    line = f"{dim}{at}{reset} {colour}{level:<7}{reset} {component}  {event}"
    if pairs:
        line += f"  {dim}{pairs}{reset}"
    return line.encode()[: MAX_LINE_BYTES - 1] + b"\n"


def wants_colour() -> bool:
    """https://no-color.org and dumb terminals."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shown(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = CONTROL_CHARACTERS.sub(lambda found: f"\\x{ord(found.group()):02x}", str(value))
    return f'"{text}"' if " " in text else text
