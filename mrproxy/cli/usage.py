"""Shell. `mrproxy usage`: requests, tokens and costs, out of the sums by day; read directly and never written.

Here it works beside a running control plane and without one, like `mrproxy records`; elsewhere (--url) by the API.
Read next: `mrproxy/storage/usage_reports.py`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mrproxy.cli.client import Api
from mrproxy.cli.fields import MILLIONTHS
from mrproxy.cli.gateway import remote_options
from mrproxy.cli.moments import Moment
from mrproxy.cli.options import data_dir_options, errors_for_people, json_option
from mrproxy.cli.output import print_json, print_rows
from mrproxy.cli.records import asked, database_url_option, location_of

if TYPE_CHECKING:  # workers start through this package: SQLAlchemy is imported where it is needed
    from mrproxy.storage.database import Database
    from mrproxy.storage.usage_reports import UsageSum

GROUPINGS = ("user", "group", "key", "model", "backend", "day")
COLUMNS = ("requests", "errors", "prompt_tokens", "completion_tokens", "charged_tokens", "cost")


@click.command()
@data_dir_options
@database_url_option
@remote_options
@click.option("--by", type=click.Choice(GROUPINGS), default="user", show_default=True, help="What sums are of.")
@click.option("--since", "since_utc", type=Moment(), help="From this day on (UTC): 2026-02-01, 30d.")
@click.option("--until", "until_utc", type=Moment(), help="Up to this day; a date, and the day before it is the last.")
@click.option("--user", help="Of this user.")
@click.option("--group", help="Of this group.")
@click.option("--key-id", metavar="ID", help="By this key: its id, never the key itself.")
@click.option("--model", help="For this model.")
@click.option("--backend", help="Served by this backend.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many at most.")
@json_option
def usage(
    config_file: Path | None,
    data_dir: str | None,
    database_url: str | None,
    api: Api | None,
    by: str,
    since_utc: float | None,
    until_utc: float | None,
    limit: int,
    as_json: bool,
    **names: Any,
) -> None:
    """Sum up what was asked and answered: most tokens first, days in their order. The last line is the sum of all.

    `cost` is in the currency that prices are in; `--json` has it in millionths. Days are in UTC.

    \b
    mrproxy usage --by model --since 30d
    mrproxy usage --by day --user ada --url https://llm.example.org
    """
    since, until = day_of(since_utc), last_day_before(until_utc)
    if api is not None:
        query = {"by": by, "since": since, "until": until, "key": names.pop("key_id"), **names}
        sums = list(api.items("/usage", limit, **query))
        total = api.get("/usage", limit=1, **query)["total"]
    else:
        with errors_for_people():
            location = location_of(config_file, data_dir, database_url)
            found, of_all = asked(location, _sum, by, since, until, names, limit)
        sums, total = [msgspec.structs.asdict(each) for each in found], msgspec.structs.asdict(of_all)
    if as_json:
        print_json({"by": by, "items": sums, "total": total})
        return
    rows = [{by: each["name"] or "-", **readable(each)} for each in sums] + [{by: "(all)", **readable(total)}]
    print_rows(rows, as_json=False, columns=(by, *COLUMNS))


def day_of(utc: float | None) -> str | None:
    return None if utc is None else datetime.fromtimestamp(utc, UTC).date().isoformat()


def last_day_before(utc: float | None) -> str | None:
    """The day of the last moment before: at midnight, the day that ends there."""
    if utc is None:
        return None
    return (datetime.fromtimestamp(utc, UTC) - timedelta(microseconds=1)).date().isoformat()


def readable(each: Mapping[str, Any]) -> dict[str, object]:
    return {**each, "cost": f"{each['cost'] / MILLIONTHS:.4f}"}


async def _sum(
    database: "Database", by: str, since_day: str | None, until_day: str | None, names: Mapping[str, Any], limit: int
) -> "tuple[list[UsageSum], UsageSum]":
    from mrproxy.storage.usage_reports import UsageFilter, sum_all, sum_usage

    wanted = UsageFilter(since_day, until_day, **names)
    page = await database.read(sum_usage, by, wanted, None, limit)
    return page.sums, await database.read(sum_all, wanted)
