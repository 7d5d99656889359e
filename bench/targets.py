"""Shell. The things that are measured: started, pinned, waited for, and ended with their whole process group.

Proxies run on one core, the generator and the mocks on another; with a single core nothing is pinned and the output
says so.
"""

import contextlib
import functools
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

PROXY_CORE = 0
LOAD_CORE = 1
# What goes on beside a gateway: of its URL and data directory.
Company = Callable[[str, Path], AbstractContextManager[None]]

READY_SECONDS = 20.0
STOP_SECONDS = 5.0

NGINX_CONFIG = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
{user}pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 32768; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    keepalive_timeout 3600;
    client_max_body_size 64m;
    client_body_buffer_size 128k;
    upstream engine {{
        server {upstream};
        keepalive 4096;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 3600;
            proxy_send_timeout 3600;
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    host: str
    port: int
    pids: tuple[int, ...]  # roots of what is measured; none: CPU is not shown
    key: str = ""
    operation: str = "chat"  # of `workload.PATHS`: what is asked of it
    company: Callable[[], AbstractContextManager[None]] = nullcontext  # what goes on beside each of its turns

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def parse_url(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise click.BadParameter(f"{url!r} is not an http://host:port address")
    return parts.hostname, parts.port or 80


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@functools.cache
def can_pin() -> bool:
    """Whether this process was started with both cores; asked once, because the generator then pins itself to one."""
    return {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


def pin_generator() -> bool:
    """This process, and what it starts unpinned, stays on the generator's core; False where there is only one."""
    if can_pin():
        os.sched_setaffinity(0, {LOAD_CORE})
    return can_pin()


def wait_listening(host: str, port: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        if process is not None and process.poll() is not None:
            raise click.ClickException(
                f"{process.args!r} ended with {process.returncode} before it listened on port {port}"
            )
        if time.monotonic() > deadline:
            raise click.ClickException(f"nothing listens on {host}:{port} after {READY_SECONDS:.0f} s")
        time.sleep(0.02)


@contextlib.contextmanager
def open_process(
    command: list[str], core: int | None, env: dict[str, str] | None = None, log: Path | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `command` in a process group of its own, on one core; the group is gone when the block ends."""

    # Not preexec_fn, which is unsafe with threads: taskset does the same from outside.
    pinned = ["taskset", "-c", str(core), *command] if core is not None and can_pin() else command
    output = log.open("wb") if log is not None else subprocess.DEVNULL
    process = subprocess.Popen(
        pinned, env=os.environ | (env or {}), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield process
    finally:
        stop_group(process)
        if log is not None:
            output.close()  # type: ignore[union-attr]


def stop_group(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def open_mock(kind: str, *options: str) -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "bench", "mock", kind, "--port", str(port), *options]
    with open_process(command, LOAD_CORE) as process:
        wait_listening("127.0.0.1", port, process)
        yield Target(f"mock {kind}", "127.0.0.1", port, (process.pid,))


@contextlib.contextmanager
def open_nginx(upstream: Target) -> Iterator[Target]:
    """Debian's nginx as the yardstick: one worker, no buffering, keep-alive on both sides, no access log."""
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if binary is None:
        raise click.ClickException("nginx is not installed (apt-get install nginx), and comparisons are ratios to it")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as directory:
        config = Path(directory) / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        address = f"{upstream.host}:{upstream.port}"
        config.write_text(NGINX_CONFIG.format(user=user, directory=directory, upstream=address, port=port))
        command = [binary, "-c", str(config), "-p", directory]
        with open_process(command, PROXY_CORE, log=Path(directory) / "output.log") as process:
            wait_listening("127.0.0.1", port, process)
            yield Target("nginx", "127.0.0.1", port, (process.pid,))


@contextlib.contextmanager
def open_command(name: str, template: str, upstream: Target, key: str = "") -> Iterator[Target]:
    """A target the harness starts: `{port}` and `{upstream}` in the command are filled in."""
    port = free_port()
    command = shlex.split(template.format(port=port, upstream=upstream.url))
    with open_process(command, PROXY_CORE) as process:
        wait_listening("127.0.0.1", port, process)
        yield Target(name, "127.0.0.1", port, (process.pid,), key)


# Every limit is there to be kept account of, on the key and on its user, and none is ever reached.
LIMITS = """requests_per_minute = 1000000000
tokens_per_minute = 1000000000000
concurrent_requests = 1000000
token_budget = 1000000000000000"""
MRPROXY_CONFIG = f"""[[users]]
name = "bench"
group = "faculty"
{LIMITS}

[[keys]]
name = "bench"
key = "{{key}}"
user = "bench"
{LIMITS}
"""


@contextlib.contextmanager
def open_mrproxy(
    backends: list[str],
    name: str = "ours",
    options: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    operation: str = "chat",
    config_text: str = "",
    prepare: Callable[[Path], object] = lambda _: None,
    company: Company | None = None,
) -> Iterator[Target]:
    """`mrproxy serve` with everything on, in a temporary data directory, with a key of its own.

    `prepare` may fill the data directory first; `company` gets URL and data directory for each turn.
    """
    port = free_port()
    key = "mr_" + secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="bench-mrproxy-") as directory:
        config = Path(directory) / "mrproxy.toml"
        config.write_text(MRPROXY_CONFIG.format(key=key) + config_text)
        # No access log: nginx and the other proxies run without one here.
        command = [sys.executable, "-m", "mrproxy", "serve", "--config", str(config), "--port", str(port)]
        # No database either: none of the others has one. `--ours-option --records` shows what it costs.
        command += ["--no-access-log", "--no-records", *options]
        for backend in backends:
            command += ["--backend", backend]
        data_dir = Path(directory) / "data"
        prepare(data_dir)
        settings = {
            "MRPROXY_DATA_DIR": str(data_dir),
            "MRPROXY_MAX_CONNECTIONS_PER_ADDRESS": "65536",
            "MRPROXY_MAX_CONNECTIONS": "65536",
            "MRPROXY_QUEUE_MAX_JOBS_PER_FLOW": "10000",
        }
        log = Path(directory) / "output.log"
        with open_process(command, PROXY_CORE, settings | (env or {}), log) as process:
            try:
                wait_listening("127.0.0.1", port, process)
                wait_ready("127.0.0.1", port)
            except click.ClickException as exc:
                raise click.ClickException(f"{exc.message}\n{log.read_text(errors='replace')[-2000:]}") from exc
            target = Target(name, "127.0.0.1", port, (process.pid,), key, operation)
            yield target if company is None else replace(target, company=partial(company, target.url, data_dir))


def wait_ready(host: str, port: int, path: str = "/readyz") -> None:
    """Until `GET path` says 200: a backend is routable."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
    deadline = time.monotonic() + READY_SECONDS
    answer = b""
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2) as sock:
            sock.sendall(request)
            answer = sock.recv(4096)
            if answer.startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.05)
    raise click.ClickException(f"not ready after {READY_SECONDS:.0f} s: {answer[:300]!r}")
