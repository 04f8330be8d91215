"""Which certificates a sign-in trusts, and what a fork waits for."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
import trustme
import truststore

from conftest import credentials, fork_waits, grant, loaded_anew
from enkash_auth import TokenProvider
from enkash_auth._forks import Forks
from enkash_auth._policy.outcome import Issued
from enkash_auth._provider import engine_of
from enkash_auth._signin.tls import tls_context
from enkash_auth.errors import ConfigurationError, UnavailableError
from tls_server import ANSWER, TlsServer


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tls: TlsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The certificates of the server's authority, in a file that is named."""
    tls.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_where_truststore_is_installed_the_systems_certificates_are_trusted() -> None:
    """As httpx2 does. Not shared: its lock is held while a sign-in connects."""
    one, other = tls_context(True), tls_context(True)
    assert isinstance(one, truststore.SSLContext)
    assert one is not other


def test_without_truststore_certifis_certificates_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "truststore", None)
    without = loaded_anew("enkash_auth._signin.tls")
    one, other = without.tls_context(True), without.tls_context(True)
    assert one is other and not isinstance(one, truststore.SSLContext)


def test_a_file_of_keys_that_cannot_be_written_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/nowhere/keys")
    with pytest.raises(ConfigurationError, match="^SSLKEYLOGFILE: /nowhere/keys cannot be written"):
        TokenProvider(credentials())


def test_a_rotated_file_of_certificates_is_noticed(tls: TlsServer, file: Path) -> None:
    right, strangers = file.read_bytes(), trustme.CA().cert_pem.bytes()
    file.write_bytes(strangers)
    with TokenProvider(credentials(base_url=tls.url)) as provider, ThreadPoolExecutor() as pool:
        for rotate in (lambda: None, lambda: file.write_text("half-way"), file.unlink):
            rotate()
            assert not isinstance(grant(provider).outcome, Issued)
        file.write_bytes(right)
        call = pool.submit(grant, provider)
        tls.wait_for_request()
        tls.connections[0].sendall(ANSWER)
        assert isinstance(call.result().outcome, Issued)


def test_closing_does_not_wait_while_certificates_are_read(tls: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may be on a network drive whose server is away."""
    with TokenProvider(credentials(base_url=tls.url)) as provider, ThreadPoolExecutor() as pool:
        gateway, closed = engine_of(provider).held.account.gateway, list[None]()

        def read() -> tuple[()]:
            closed.append(pool.submit(gateway.close).result(timeout=3))
            return ()

        monkeypatch.setattr("enkash_auth._signin.gateway.certificates", read)
        assert not isinstance(grant(provider).outcome, Issued)
        assert closed


def test_no_child_is_forked_amid_a_tls_handshake() -> None:
    """It would inherit OpenSSL's locks held, and wait for them for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with TokenProvider(credentials(base_url=url)) as provider:
            call = pool.submit(provider.token)
            connection, _ = listening.accept()
            with listening, connection:
                assert connection.recv(1)
                assert fork_waits()
            with pytest.raises(UnavailableError):
                call.result()
    assert not fork_waits()


def test_after_a_tls_handshake_no_fork_waits(tls: TlsServer) -> None:
    with TokenProvider(credentials(base_url=tls.url), verify=tls.trusting) as provider, ThreadPoolExecutor() as pool:
        call = pool.submit(provider.token)
        tls.wait_for_request()
        assert not fork_waits()
        tls.connections[0].sendall(ANSWER)
        assert call.result()


def test_a_fork_waits_for_what_another_thread_has_begun() -> None:
    guard = Forks(pause=lambda _: guard.leave("call"))
    with ThreadPoolExecutor() as pool:
        pool.submit(guard.enter, "call").result()
    assert not guard.begin(0)
    assert guard.begin()


def test_what_begins_amid_a_fork_waits_for_its_end() -> None:
    guard = Forks(pause := Mock(side_effect=lambda _: guard.end()))
    guard.begin()
    with guard.waiting():
        pause.assert_called_once()


def test_a_fork_waits_for_nothing_of_its_own_thread() -> None:
    guard = Forks()
    with guard.waiting():
        assert guard.begin()


def test_a_fork_and_a_thread_that_it_waits_for_do_not_wait_for_each_other() -> None:
    guard = Forks(pause := Mock())
    with guard.waiting(), ThreadPoolExecutor() as pool:
        assert not pool.submit(guard.begin, 0).result()
        with guard.waiting():
            pause.assert_not_called()
