"""Shell. `bench`: mock engines, load, comparisons, reports. Plain text on a pipe, colour and progress on a terminal."""

import click

from bench.compare_command import compare_command
from bench.departures import departures_command
from bench.fairness_command import fairness_command
from bench.memory import memory_command
from bench.mock_command import mock
from bench.peers import peers
from bench.run_command import report_command, run_command
from bench.soak import soak_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure LLM gateways: mock engines, load with per-token stamps, comparison against nginx."""


main.add_command(mock)
main.add_command(run_command)
main.add_command(compare_command)
main.add_command(peers)
main.add_command(fairness_command)
main.add_command(departures_command)
main.add_command(memory_command)
main.add_command(soak_command)
main.add_command(report_command)
