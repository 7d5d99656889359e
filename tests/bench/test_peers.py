import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench import peers
from bench.cli import main
from bench.peers import (
    ENVOY,
    PEERS,
    PEERS_DIRECTORY,
    SMG,
    VLLM_ROUTER,
    command_of,
    config_of,
    envoy_config,
    install_commands,
    open_peer,
    parse_peers,
    program_path,
)
from bench.targets import Target

ENGINE = Target("mock", "127.0.0.1", 9001, ())


def command(peer):
    return command_of(peer, Path("bin/x"), 8001, 8002, ENGINE.url, Path("dir with space/config.json"))


def option(words, name):
    return words[words.index(name) + 1]


def connection_manager(config):
    (listener,) = config["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def test_peers_are_chosen_by_name():
    assert parse_peers("") == []
    assert parse_peers("envoy, smg") == [ENVOY, SMG]
    with pytest.raises(click.BadParameter, match="'haproxy' is not one of vllm-router, smg, envoy"):
        parse_peers("smg,haproxy")


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_command_has_no_placeholder_left(peer):
    words = command(peer)
    assert words[0] == "bin/x"
    assert not any("{" in word for word in words)


@pytest.mark.parametrize("peer", [VLLM_ROUTER, SMG], ids=lambda peer: peer.name)
def test_routers_are_told_where_to_listen_and_to_do_no_more_than_relay(peer):
    words = command(peer)
    assert option(words, "--host") == "127.0.0.1"
    assert option(words, "--port") == "8001"
    assert option(words, "--prometheus-port") == "8002"
    assert option(words, "--worker-urls") == "http://127.0.0.1:9001"
    assert option(words, "--policy") == "round_robin"
    assert {"--disable-retries", "--disable-circuit-breaker"} <= set(words)
    assert option(words, "--log-level").startswith("warn")
    assert peer.environment == {"TOKIO_WORKER_THREADS": "1", "RUST_LOG": "warn"}


def test_envoy_has_one_worker_and_its_own_configuration_file():
    words = command(ENVOY)
    assert option(words, "--config-path") == "dir with space/config.json"
    assert option(words, "--concurrency") == "1"
    assert json.loads(config_of(ENVOY, 8001, ENGINE)) == envoy_config(8001, "127.0.0.1", 9001)
    assert config_of(SMG, 8001, ENGINE) == ""


def test_envoy_logs_no_requests_and_ends_no_stream():
    manager = connection_manager(envoy_config(8001, "127.0.0.1", 9001))
    assert "access_log" not in manager
    assert manager["stream_idle_timeout"] == manager["request_timeout"] == "0s"
    (route,) = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert route["route"] == {"cluster": "engine", "timeout": "0s", "idle_timeout": "0s"}
    assert [part["name"] for part in manager["http_filters"]] == ["envoy.filters.http.router"]


def test_envoy_listens_on_loopback_and_relays_to_the_engine():
    config = envoy_config(8001, "127.0.0.1", 9001)["static_resources"]
    listener, cluster = config["listeners"][0], config["clusters"][0]
    assert listener["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 8001}}
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9001}
    assert cluster["type"] == "STATIC"
    assert min(cluster["circuit_breakers"]["thresholds"][0].values()) >= 100_000


def test_envoy_resolves_an_engine_that_has_a_name():
    assert envoy_config(1, "localhost", 2)["static_resources"]["clusters"][0]["type"] == "STRICT_DNS"


def test_each_peer_is_installed_from_wheels_in_its_own_environment():
    create, install = install_commands(SMG, Path("envs"))
    assert create[1:] == ["-m", "venv", "envs/smg"]
    assert install[0] == "envs/smg/bin/python"
    assert install[-3:] == ["--only-binary", ":all:", "smg==1.13.0"]
    assert len({program_path(peer, Path("envs")).parent for peer in PEERS.values()}) == len(PEERS)


def test_a_peer_that_is_not_installed_says_how_to_install_it(tmp_path):
    with pytest.raises(click.ClickException, match="bench peers install envoy"):
        with open_peer(ENVOY, ENGINE, tmp_path):
            pass


def test_compare_refuses_an_unknown_peer():
    result = CliRunner().invoke(main, ["compare", "--peers", "haproxy"])
    assert result.exit_code == 2
    assert "vllm-router, smg, envoy" in result.output


def test_a_failed_installation_names_its_command(monkeypatch):
    monkeypatch.setattr(peers, "install_commands", lambda _peer, _directory: [["false"]])
    result = CliRunner().invoke(main, ["peers", "install", "smg"])
    assert result.exit_code == 1
    assert "false ended with 1" in result.output


@pytest.mark.slow
def test_a_peer_that_ends_at_once_shows_what_it_wrote(tmp_path):
    program = program_path(ENVOY, tmp_path)
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho no such option\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(click.ClickException, match=r"envoy: .* ended with 3 (?s:.*)no such option"):
        with open_peer(ENVOY, ENGINE, tmp_path):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_an_installed_peer_relays_every_byte(engine, peer):
    if not program_path(peer, PEERS_DIRECTORY).exists():
        pytest.skip(f"bench peers install {peer.name}")
    load = ["--concurrency", "8", "--max-tokens", "5", "--seconds", "0.3", "--warm-seconds", "0.1"]
    with open_peer(peer, engine) as target:
        for kind in ("--stream", "--no-stream"):
            arguments = ["run", "--url", target.url, "--mock-url", engine.url, "--model", "mock-8b", kind, *load]
            result = CliRunner().invoke(main, [*arguments, "--json", "-", "--max-lag-ms", "1000"])
            value = json.loads(result.stdout)
            assert value["errors"] == {}
            assert value["fidelity"]["checked"] == value["fidelity"]["identical"] > 0
