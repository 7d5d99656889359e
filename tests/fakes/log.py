"""A log that remembers."""

from dataclasses import dataclass, field

Value = str | int | float | bool | None


@dataclass
class MemoryLog:
    """Every line as (level, event, fields)."""

    lines: list[tuple[str, str, dict[str, Value]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Value) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Value) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Value) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Value) -> None:
        self.lines.append(("error", event, fields))

    def events(self, event: str) -> list[dict[str, Value]]:
        """The fields of each line of this event."""
        return [fields for _, name, fields in self.lines if name == event]
