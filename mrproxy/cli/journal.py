"""Shell. `mrproxy journal`: read the accounts as workers write them, from a running gateway or a dead one."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from mrproxy.cli.options import data_dir_options, data_directory, errors_for_people, json_option
from mrproxy.cli.output import harmless, print_rows
from mrproxy.link.capture import CapturedBodies, CaptureReader, capture_segments
from mrproxy.link.journal import read_segment, segments
from mrproxy.link.records import JournalRecord

CAT_COLUMNS = (
    "started_utc",
    "request_id",
    "user",
    "model",
    "backend",
    "operation",
    "status",
    "prompt_tokens",
    "completion_tokens",
    "usage_state",
    "total_seconds",
)
STAT_COLUMNS = ("segment", "bytes", "records", "failed", "prompt_tokens", "completion_tokens", "usage_states", "torn")

paths_argument = click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.group()
def journal() -> None:
    """Read the journal: one record per finished request."""


@journal.command()
@data_dir_options
@paths_argument
@json_option
def cat(config_file: Path | None, data_dir: str | None, paths: tuple[Path, ...], as_json: bool) -> None:
    """Print records, oldest segment first. `--json` prints one JSON object per line, with every field."""
    with errors_for_people():
        chosen = paths or journal_paths(config_file, data_dir)
        if as_json:
            for record in records_of(chosen):
                click.echo(msgspec.json.encode(row_of(record)))
        else:
            print_rows(map(row_of, records_of(chosen)), as_json=False, columns=CAT_COLUMNS)


@journal.command()
@data_dir_options
@paths_argument
@json_option
def stat(config_file: Path | None, data_dir: str | None, paths: tuple[Path, ...], as_json: bool) -> None:
    """Print sums per segment, and whether it ends in a torn record (as after `kill -9`)."""
    with errors_for_people():
        rows = [sums_of(path) for path in paths or journal_paths(config_file, data_dir)]
    print_rows(rows, as_json=as_json, columns=STAT_COLUMNS)


@journal.command()
@data_dir_options
@click.argument("request_id", required=False)
@json_option
def bodies(config_file: Path | None, data_dir: str | None, request_id: str | None, as_json: bool) -> None:
    """Print captured bodies, of all requests or of one. `--json` prints one JSON object per line.

    There are some only while the setting `capture_bodies` is on.
    """
    with errors_for_people():
        paths = capture_segments(data_directory(config_file, data_dir).journal)
        count = 0
        for each in (each for path in paths for each in CaptureReader(path)):
            if request_id in (None, each.request_id):
                count += 1
                click.echo(msgspec.json.encode(each) if as_json else shown_bodies(each))
    if request_id is not None and not count:
        raise click.ClickException(f"no bodies of a request {request_id} were captured")


def shown_bodies(bodies: CapturedBodies) -> str:
    started = datetime.fromtimestamp(bodies.started_utc, UTC).isoformat(timespec="milliseconds")
    first = f"{bodies.request_id} {started} user={bodies.user} key_id={bodies.key_id} model={bodies.model}"
    return "\n".join(
        [
            harmless(f"--- {first} status={bodies.status}"),
            shown_body("request", bodies.request, bodies.request_is_base64, bodies.request_truncated),
            shown_body("answer", bodies.answer, bodies.answer_is_base64, bodies.answer_truncated),
        ]
    )


def shown_body(name: str, text: str, is_base64: bool, is_truncated: bool) -> str:
    notes = ", ".join(note for note, is_so in (("base64", is_base64), ("cut off", is_truncated)) if is_so)
    return f"{name}{f' ({notes})' if notes else ''}:\n{harmless(text)}"


def journal_paths(config_file: Path | None, data_dir: str | None) -> tuple[Path, ...]:
    directory = data_directory(config_file, data_dir)
    return tuple(segment.path for segment in segments(directory.journal))


def records_of(paths: tuple[Path, ...]) -> Iterator[JournalRecord]:
    for path in paths:
        for _, record in read_segment(path):
            yield record


def row_of(record: JournalRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def sums_of(path: Path) -> dict[str, object]:
    """Absent tokens add nothing; `usage_states` says how many records have none."""
    reader = read_segment(path)
    count = failed = prompt_tokens = completion_tokens = 0
    states: Counter[str] = Counter()
    for _, record in reader:
        count += 1
        failed += record.status >= 400
        prompt_tokens += record.prompt_tokens or 0
        completion_tokens += record.completion_tokens or 0
        states[record.usage_state] += 1
    return {
        "segment": path.name,
        "bytes": path.stat().st_size,
        "records": count,
        "failed": failed,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "usage_states": dict(states),
        "torn": reader.torn,
    }
