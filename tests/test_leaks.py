"""The leak check sees a secret wherever a service may let it slip, and nothing else."""

import base64
import io
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from email.header import Header

import click
import httpx
import pytest

from enkash_auth import TokenProvider
from enkash_auth.errors import RefusedError
from enkash_auth.testing import LeakCheck, Sandbox

log, quiet = logging.getLogger("service"), logging.Logger("quiet")  # no handler gets what is quiet


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(password='a b&ç d%"e')


@pytest.fixture
def provider(sandbox: Sandbox) -> Iterator[TokenProvider]:
    with TokenProvider(sandbox.credentials(), transport=sandbox.transport, verify=False) as provider:
        yield provider


@contextmanager
def leak(sandbox: Sandbox, place: str = "stdout", secret: str = "password") -> Iterator[LeakCheck]:
    """A block in which this secret shows in this place, and nothing else."""
    with pytest.raises(AssertionError) as caught, LeakCheck(sandbox) as check:
        yield check
    assert re.fullmatch(f"the {secret} shows in {place}", str(caught.value))


def raise_(error: BaseException) -> None:
    raise error


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def noted(secret: str) -> BaseException:
    error = ValueError("it failed")
    error.add_note(secret)
    return error


def changed(secret: str) -> None:
    answer = {"access_token": secret}
    log.info("got %s", answer)
    answer.clear()


def unreadable(secret: str) -> BaseException:
    return UnicodeDecodeError("utf-8", secret.encode(), 0, 1, "")  # its text does not hold its argument


class Unshown:
    """It cannot be shown, as an object whose database session is over."""

    def __repr__(self) -> str:
        raise RuntimeError("detached")


RECORD, QUIET = (rf"a log record of '{name}' \(test_leaks.py:\d+\)" for name in ("service", "quiet"))
SLIPS: dict[str, tuple[Callable[[str], object], str]] = {
    "debug": (lambda secret: log.debug("got %s", secret), RECORD),
    "str": (lambda secret: log.info("got %s", Header(secret)), RECORD),
    "extra": (lambda secret: log.info("got it", extra={"header": Header(secret)}), RECORD),
    "beside what cannot be shown": (lambda secret: log.info("", extra={"row": Unshown(), "header": secret}), RECORD),
    "exc_info": (lambda secret: quiet.info("it failed", exc_info=caused(ValueError(), KeyError(secret))), QUIET),
    "changed": (changed, RECORD),
    "unpropagated": (lambda secret: quiet.info(secret), QUIET),
    "stdout": (lambda secret: print(secret), "stdout"),
    "stderr": (lambda secret: print("got", secret, file=sys.stderr), "stderr"),
    "pieces": (lambda secret: [sys.stdout.write(letter) for letter in secret], "stdout"),
    "click": (click.echo, "stdout"),
    "bytes": (lambda secret: sys.stdout.buffer.writelines([b"got ", secret.encode()]), "stdout"),
    "lines": (lambda secret: sys.stdout.writelines(["got ", secret]), "stdout"),
    "broken lines": (lambda secret: print(f"got {secret[:9]}\n    {secret[9:]}"), "stdout"),
    "error": (lambda secret: raise_(ValueError(f"got {secret}")), "a ValueError"),
    "cause": (lambda secret: raise_(caused(ValueError(), KeyError(secret))), "a ValueError"),
    "a far cause": (lambda it: raise_(caused(ValueError(), caused(KeyError(), unreadable(it)))), "a ValueError"),
    "note": (lambda secret: raise_(noted(secret)), "a ValueError"),
    "group": (lambda secret: raise_(ExceptionGroup("two", [ValueError(secret)])), "a ExceptionGroup"),
}


@pytest.mark.parametrize(("slip", "place"), SLIPS.values(), ids=SLIPS.keys())
@pytest.mark.filterwarnings("default")
def test_a_slip_is_seen_and_its_place_named(slip: Callable[[str], object], place: str) -> None:
    sandbox = Sandbox()  # its password is random
    with leak(sandbox, place):
        slip(sandbox.password)


def test_a_warning_is_seen_and_reaches_whom_it_would_have_reached(sandbox: Sandbox) -> None:
    with pytest.warns(UserWarning, match="got"), leak(sandbox, r"a warning \(.*test_leaks.py:\d+\)"):
        warnings.warn(f"got {sandbox.password}", stacklevel=1)


def basic(sandbox: Sandbox) -> str:
    return base64.b64encode(f"{sandbox.basic_client_id}:{sandbox.client_secret}".encode()).decode()


def expired(sandbox: Sandbox, provider: TokenProvider) -> str:
    token = provider.token()
    sandbox.expire()
    return token.access_token


def rotated(sandbox: Sandbox) -> str:
    old, sandbox.password = sandbox.password, "a-new-password"
    return old


FORMS: dict[str, tuple[str, Callable[[Sandbox, TokenProvider], str]]] = {
    "a client secret": ("client secret", lambda sandbox, _: sandbox.client_secret),
    "a Basic pair": ("Basic pair", lambda sandbox, _: basic(sandbox)),
    "an access token": ("access token", lambda _, provider: provider.token().access_token),
    "an expired token": ("access token", expired),
    "a password in a form": ("password", lambda *_: "a+b%26%C3%A7+d%25%22e"),
    "a password in a path": ("password", lambda *_: "a%20b%26%C3%A7%20d%25%22e"),
    "a password in a URL, in other letters": ("password", lambda *_: "https://a.example/a%20b&%c3%a7%20d%25%22e"),
    "a password in JSON": ("password", lambda *_: r"a b&\u00e7 d%\"e"),
    "a password in JSON of UTF-8": ("password", lambda *_: r"a b&ç d%\"e"),
    "a password in ASCII": ("password", lambda *_: r"a b&\xe7 d%" '"e'),
    "a password in bytes": ("password", lambda sandbox, _: str({"password": sandbox.password.encode()})),
    "a password over lines that end where it has a blank": ("password", lambda *_: 'a\n b&ç\nd%"e'),
    "a password in a narrow table": ("password", lambda *_: '│ a b&  │\n│ ç d%" │\n│ e     │'),
    "a coloured password": ("password", lambda *_: 'a b\x1b[1;36m&ç\x1b[0m d%"e'),
    "a password after its rotation": ("password", lambda sandbox, _: rotated(sandbox)),
}


@pytest.mark.parametrize(("secret", "form"), FORMS.values(), ids=FORMS.keys())
def test_each_secret_is_known_in_each_form(
    sandbox: Sandbox, provider: TokenProvider, secret: str, form: Callable[[Sandbox, TokenProvider], str]
) -> None:
    with leak(sandbox, secret=secret):
        print(form(sandbox, provider))


def test_logging_that_a_test_suite_has_silenced_is_seen(sandbox: Sandbox) -> None:
    logging.disable(logging.ERROR)
    try:
        with leak(sandbox, RECORD):
            log.info(sandbox.password)
        assert not log.isEnabledFor(logging.ERROR)
    finally:
        logging.disable(logging.NOTSET)


def test_what_a_filter_has_struck_out_is_no_leak(sandbox: Sandbox) -> None:
    def strike(record: logging.LogRecord) -> bool:
        record.msg, record.args = "got ***", None
        return True

    filtered = logging.Logger("filtered")
    filtered.addFilter(strike)
    with LeakCheck(sandbox):
        filtered.info("got %s", sandbox.password)


def test_an_apis_logged_401_is_a_leak_for_it_names_the_token(sandbox: Sandbox, provider: TokenProvider) -> None:
    headers = {"Authorization": f"Bearer {expired(sandbox, provider)}"}
    with leak(sandbox, RECORD, "access token"), httpx.Client(transport=sandbox.transport) as client:
        log.warning("the API says %s", client.get(f"{sandbox.base_url}/api/echo", headers=headers).headers)


def test_what_is_shown_to_it_is_looked_at(sandbox: Sandbox) -> None:
    with leak(sandbox, "a KeyError\nthe password shows in a dict") as check:
        check.look_at(Unshown(), KeyError(sandbox.password), {"password": sandbox.password})


def test_a_service_that_leaks_nothing_passes(
    sandbox: Sandbox, provider: TokenProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.fail_next("server_error")
    with LeakCheck(sandbox) as check:
        print(provider, provider.token(), sandbox, flush=True)
        quiet.warning("%s of %s", "one argument")  # logging says so on stderr
        sandbox.lock()
        provider.reset()
        with pytest.raises(RefusedError) as caught:
            provider.token()
        check.look_at(caught.value)
    assert "Token" in capsys.readouterr().out


def test_a_password_of_bars_does_not_show_in_everything() -> None:
    with LeakCheck(Sandbox(password="| |")):
        print("nothing")


@pytest.mark.parametrize(("kind", "text"), [(ValueError, "mine"), (AssertionError, "mine, a comparison of {}")])
def test_an_error_without_a_secret_and_the_tests_own_assertion_pass_through(
    sandbox: Sandbox, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match="^mine"), LeakCheck(sandbox):
        raise kind(text.format(sandbox.password))


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_is_seen_that_pytest_puts_back(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with leak(sandbox, name):
        with capsys.disabled():  # as for each record of a live log, and between a fixture and its test
            pass
        print(sandbox.password, file=getattr(sys, name))


def test_a_stream_is_seen_that_a_handler_has_kept(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    print(sandbox.password)
    kept = sys.stdout
    with leak(sandbox):
        kept.write(f"{sandbox.password}\n")
    with LeakCheck(sandbox):
        print("mine")
    assert capsys.readouterr().out == f"{sandbox.password}\n{sandbox.password}\nmine\n"


def test_a_stream_of_text_alone_is_seen(sandbox: Sandbox) -> None:
    with redirect_stdout(io.StringIO()) as kept, leak(sandbox):
        print(sandbox.password)
    assert kept.getvalue() == f"{sandbox.password}\n"


def test_it_leaves_nothing_behind(sandbox: Sandbox) -> None:
    def state() -> tuple[object, ...]:
        streams = [vars(stream.buffer).get("write") for stream in (sys.stdout, sys.stderr)]
        return logging.getLogRecordFactory(), logging.getLogger().level, streams, warnings.showwarning

    before = state()
    with (check := LeakCheck(sandbox)), check:  # a fixture's and a test's
        assert state() != before
    assert state() == before
