"""What a worker's stages are made of, as configured."""

import os
import socket
import ssl
import stat

import pytest

from mrproxy.assembly import discipline_of, open_command_socket, open_ledger, tls_context
from mrproxy.clock import utc_now
from mrproxy.config import Settings
from mrproxy.ledger.sharing import SharedLedger
from mrproxy.provision import open_data_directory
from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.wdrr import Wdrr
from tests.fakes.certificate import make_certificate


@pytest.mark.parametrize(("name", "kind"), [("wdrr", Wdrr), ("fifo", Fifo)])
def test_the_discipline_is_the_configured_one(name, kind):
    assert isinstance(discipline_of(Settings(scheduler=name)), kind)


@pytest.mark.parametrize("is_shared", [False, True])
def test_accounts_are_shared_where_there_are_several_workers(tmp_path, is_shared):
    ledger, calendar = open_ledger(open_data_directory(str(tmp_path)), is_shared=is_shared)
    assert isinstance(ledger, SharedLedger) == is_shared
    assert calendar.ends_utc > utc_now()


def test_a_checkpoint_that_cannot_be_saved_does_not_prevent_the_start(tmp_path, monkeypatch):
    directory = open_data_directory(str(tmp_path))

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrproxy.ledger.spent.Spent.save", full)
    open_ledger(directory, is_shared=False)


def test_only_the_owner_may_command_and_a_socket_left_behind_is_replaced(tmp_path):
    path, umask = tmp_path / "worker-w1.sock", os.umask(0)
    os.umask(umask)
    for _ in range(2):
        with open_command_socket(path) as sock, socket.socket(socket.AF_UNIX) as client:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            client.connect(str(path))
            assert not sock.getblocking()
    assert os.umask(umask) == umask


def test_without_a_certificate_there_is_no_tls():
    assert tls_context(Settings()) is None


def test_tls_is_of_this_decade_and_speaks_http_1(tmp_path):
    certificate, key = make_certificate(tmp_path)
    server = tls_context(Settings(tls_cert=str(certificate), tls_key=str(key)))
    client = ssl.create_default_context(cafile=str(certificate))
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert server.minimum_version is ssl.TLSVersion.TLSv1_2
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for end in (theirs, ours, theirs, ours):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ours.selected_alpn_protocol() == "http/1.1"
