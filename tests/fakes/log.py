"""A log that remembers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mrproxy.link.records import JournalRecord
from mrproxy.telemetry.access import access_fields

Value = str | int | float | bool | None


@dataclass
class MemoryLog:
    """Every line as (level, event, fields)."""

    lines: list[tuple[str, str, dict[str, Value]]] = field(default_factory=list)

    def at_level(self, level: str) -> "MemoryLog":
        return self

    def filed(self, directory: Path, max_bytes: int) -> "MemoryLog":
        return self

    def debug(self, event: str, **fields: Value) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Value) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Value) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Value) -> None:
        self.lines.append(("error", event, fields))

    def requests(self, records: Sequence[JournalRecord]) -> None:
        for record in records:
            self.info("request", **access_fields(record))

    def events(self, event: str) -> list[dict[str, Value]]:
        """The fields of each line of this event."""
        return [fields for _, name, fields in self.lines if name == event]
