"""TLS at the front door: the SDK verifies the certificate, streams, and nothing else changes."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from bench.backends.vllm_media import make_noise
from tests.front_door.gateway import (
    KEY,
    MESSAGES,
    Gateway,
    backend_table,
    eventually,
    key_table,
    run_gateway,
    run_mock,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: no certificate to test with"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by itself."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    what = ["-subj", "/CN=gateway", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    where = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", "req", "-x509", *where, *what], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def gateway(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    with run_mock("vllm", directory, "--model=mock-8b") as engine:
        config = backend_table("mock-vllm", "vllm", engine) + key_table(KEY, "ada")
        options = [f"--tls-cert={certificate[0]}", f"--tls-key={certificate[1]}"]
        with run_gateway(directory, config, options=options, waits=False) as gateway:
            trust = ssl.create_default_context(cafile=certificate[0])
            eventually(lambda: is_ready(gateway, trust) or None, "not ready")
            yield gateway


def is_ready(gateway: Gateway, trust: ssl.SSLContext) -> bool:
    return httpx.get(f"{gateway.url}/readyz", verify=trust, trust_env=False).status_code == 200


@pytest.fixture
def client(gateway: Gateway, certificate: tuple[Path, Path]) -> Iterator[openai.OpenAI]:
    trust = ssl.create_default_context(cafile=certificate[0])
    http = openai.DefaultHttpxClient(trust_env=False, verify=trust)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, http_client=http) as client:
        yield client


def test_the_announced_address_is_https(gateway: Gateway):
    assert gateway.url.startswith("https://127.0.0.1:")


def test_the_sdk_chats_over_tls(client: openai.OpenAI):
    answer = client.chat.completions.create(model="mock-8b", messages=MESSAGES, max_tokens=5)
    assert answer.usage.completion_tokens == 5


def test_the_sdk_streams_over_tls(gateway: Gateway, client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(
        model="mock-8b", messages=MESSAGES, max_tokens=300, stream=True
    )
    assert len([each for each in raw.parse() if each.choices[0].delta.content]) == 300
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.completion_tokens, record.client_address) == (300, "127.0.0.1")


def test_a_large_body_arrives_over_tls(client: openai.OpenAI):
    messages = [{"role": "user", "content": "x" * 3_000_000}]
    answer = client.chat.completions.create(model="mock-8b", messages=messages, max_tokens=1)
    assert answer.usage.prompt_tokens > 700_000


def test_a_large_answer_passes_tls_on_both_sides(
    gateway: Gateway, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A second gateway, whose backend is the first one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    config = backend_table("first", "openai", gateway.url, api_key=KEY) + key_table(KEY, "ada")
    options = [f"--tls-cert={certificate[0]}", f"--tls-key={certificate[1]}"]
    trust = ssl.create_default_context(cafile=certificate[0])
    with run_gateway(tmp_path, config, options=options, waits=False) as second:
        eventually(lambda: is_ready(second, trust) or None, "not ready")
        asked = {"model": "mock-8b", "input": "A talk.", "voice": "alloy", "mock_bytes": 8 << 20}
        answer = httpx.post(
            f"{second.url}/v1/audio/speech",
            json=asked,
            headers={"Authorization": f"Bearer {KEY}"},
            verify=trust,
            trust_env=False,
        )
        assert answer.content == make_noise("A talk.", 8 << 20)
        assert second.record_of(answer.headers["x-request-id"]).bytes_out > 8 << 20


def test_a_client_that_leaves_over_tls_is_noticed(gateway: Gateway, client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(
        model="mock-8b", messages=MESSAGES, max_tokens=20_000, stream=True
    )
    stream = raw.parse()
    next(iter(stream))
    stream.close()
    record = gateway.record_of(raw.headers["x-request-id"])
    assert (record.code, record.usage_state) == ("client_departed", "counted")


def test_plain_http_on_the_tls_port_gets_no_answer_and_harms_nobody(gateway: Gateway, client: openai.OpenAI):
    with gateway.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not answer_of(sock).startswith(b"HTTP/1.1 2")
    assert client.models.list().data
    assert "Traceback" not in gateway.child.output()
    assert '"level":"error"' not in gateway.child.output()


def answer_of(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""
