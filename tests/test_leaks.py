"""The leak check sees a secret wherever a service may let it slip, and nothing else."""

import base64
import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable

import click
import httpx
import pytest

from enkash_auth import TokenProvider
from enkash_auth.errors import RefusedError
from enkash_auth.testing import LeakCheck, Sandbox

log = logging.getLogger("service")


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def provider(sandbox: Sandbox) -> TokenProvider:
    return TokenProvider(sandbox.credentials(), transport=sandbox.transport, verify=False)


def raise_(error: BaseException, cause: BaseException | None = None) -> None:
    raise error from cause


def logged_exception(secret: str) -> None:
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("it failed")


def unpropagated(secret: str) -> None:
    quiet = logging.Logger("quiet")
    quiet.warning(secret)


def noted(secret: str) -> None:
    error = ValueError("it failed")
    error.add_note(secret)
    raise error


def changed(secret: str) -> None:
    answer = {"access_token": secret}
    logging.Logger("quiet").info("got %s", answer)
    answer.clear()


def far(secret: str) -> None:
    try:
        try:
            raise_(Hidden(secret), None)
        except Hidden as error:
            raise KeyError("it failed") from error
    except KeyError as error:
        raise ValueError("it failed") from error


class Hidden(Exception):
    """Its text does not hold its argument."""

    def __str__(self) -> str:
        return ""


class Unshown:
    """It cannot be shown, as an object whose database session is over."""

    def __repr__(self) -> str:
        raise RuntimeError("detached")


class Shown:
    """Its text differs from its repr."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __str__(self) -> str:
        return self.secret


SLIPS: dict[str, tuple[Callable[[str], object], str]] = {
    "debug": (lambda secret: log.debug("got %s", secret), "a log record of 'service' (test_leaks.py:"),
    "str": (lambda secret: log.info("got %s", Shown(secret)), "a log record of 'service'"),
    "extra": (lambda secret: log.info("got it", extra={"header": secret}), "a log record of 'service'"),
    "traceback": (logged_exception, "a log record of 'service'"),
    "changed": (changed, "a log record of 'quiet'"),
    "unpropagated": (unpropagated, "a log record of 'quiet'"),
    "stdout": (lambda secret: print(secret), "stdout"),
    "stderr": (lambda secret: print("got", secret, file=sys.stderr), "stderr"),
    "pieces": (lambda secret: [sys.stdout.write(letter) for letter in secret], "stdout"),
    "click": (click.echo, "stdout"),
    "bytes": (lambda secret: sys.stdout.buffer.writelines([b"got ", secret.encode()]), "stdout"),
    "lines": (lambda secret: sys.stdout.writelines(["got ", secret]), "stdout"),
    "broken lines": (lambda secret: print(f"got {secret[:9]}\n    {secret[9:]}"), "stdout"),
    "error": (lambda secret: raise_(ValueError(f"got {secret}")), "a ValueError"),
    "cause": (lambda secret: raise_(ValueError("it failed"), KeyError(secret)), "a ValueError"),
    "a far cause": (far, "a ValueError"),
    "note": (noted, "a ValueError"),
    "group": (lambda secret: raise_(ExceptionGroup("two", [ValueError(secret)])), "a ExceptionGroup"),
}


@pytest.mark.parametrize(("slip", "place"), SLIPS.values(), ids=SLIPS.keys())
@pytest.mark.filterwarnings("default")
def test_a_slip_is_seen_and_its_place_named(sandbox: Sandbox, slip: Callable[[str], object], place: str) -> None:
    with pytest.raises(AssertionError) as caught, LeakCheck(sandbox):
        slip(sandbox.password)
    assert str(caught.value).startswith(f"the password shows in {place}")
    assert sandbox.password not in str(caught.value)


def test_a_warning_is_seen_and_reaches_whom_it_would_have_reached(sandbox: Sandbox) -> None:
    with (
        pytest.warns(UserWarning, match="got"),
        pytest.raises(AssertionError, match=r"the password shows in a warning \(.*test_leaks.py:"),
        LeakCheck(sandbox),
    ):
        warnings.warn(f"got {sandbox.password}", stacklevel=1)


def basic(sandbox: Sandbox) -> str:
    return base64.b64encode(f"{sandbox.basic_client_id}:{sandbox.client_secret}".encode()).decode()


FORMS: dict[str, Callable[[Sandbox, TokenProvider], str]] = {
    "client secret": lambda sandbox, _: sandbox.client_secret,
    "Basic pair": lambda sandbox, _: basic(sandbox),
    "access token": lambda _, provider: provider.token().access_token,
}


@pytest.mark.parametrize("name", FORMS)
def test_each_secret_is_known(sandbox: Sandbox, provider: TokenProvider, name: str) -> None:
    with pytest.raises(AssertionError, match=f"^the {name} shows in stdout$"), provider, LeakCheck(sandbox):
        print(FORMS[name](sandbox, provider))


@pytest.mark.parametrize(
    "shown", ["a+b%26%C3%A7+d%25%22e", "a%20b%26%C3%A7%20d%25%22e", r"a b&\u00e7 d%\"e"], ids=["form", "path", "JSON"]
)
def test_a_password_is_known_however_it_is_written(shown: str) -> None:
    with pytest.raises(AssertionError, match="the password shows"), LeakCheck(Sandbox(password='a b&ç d%"e')):
        print(shown)


def test_a_password_is_known_after_its_rotation(sandbox: Sandbox) -> None:
    old = sandbox.password
    sandbox.password = "a-new-password"
    with pytest.raises(AssertionError, match="the password shows"), LeakCheck(sandbox):
        print(old)


def test_logging_that_a_test_suite_has_silenced_is_seen(sandbox: Sandbox) -> None:
    logging.disable(logging.ERROR)
    try:
        with pytest.raises(AssertionError, match="the password shows"), LeakCheck(sandbox):
            log.info(sandbox.password)
        assert not log.isEnabledFor(logging.ERROR)
    finally:
        logging.disable(logging.NOTSET)


def test_what_a_filter_has_struck_out_is_no_leak(sandbox: Sandbox) -> None:
    def strike(record: logging.LogRecord) -> bool:
        record.msg, record.args = "got ***", None
        return True

    quiet = logging.Logger("quiet")
    quiet.addFilter(strike)
    with LeakCheck(sandbox):
        quiet.info("got %s", sandbox.password)


def test_an_object_that_cannot_be_shown_hides_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(AssertionError, match="the password shows in a log record"), LeakCheck(sandbox) as check:
        check.look_at(Unshown())
        log.info("got it", extra={"row": Unshown(), "header": sandbox.password})


def test_an_expired_token_is_still_a_secret(sandbox: Sandbox, provider: TokenProvider) -> None:
    with pytest.raises(AssertionError, match="the access token shows"), provider, LeakCheck(sandbox):
        token = provider.token()
        sandbox.expire()
        print(token.access_token)


def test_an_apis_logged_401_is_a_leak_for_it_names_the_token(sandbox: Sandbox, provider: TokenProvider) -> None:
    told = "the access token shows in a log record of 'service'"
    with pytest.raises(AssertionError, match=told), provider, LeakCheck(sandbox):
        headers = {"Authorization": f"Bearer {provider.token().access_token}"}
        sandbox.expire()
        with httpx.Client(transport=sandbox.transport, base_url=sandbox.base_url) as client:
            log.warning("the API says %s", client.get("/api/echo", headers=headers).headers)


def test_what_is_shown_to_it_is_looked_at(sandbox: Sandbox) -> None:
    told = r"^the password shows in a KeyError\nthe password shows in a dict$"
    with pytest.raises(AssertionError, match=told), LeakCheck(sandbox) as check:
        check.look_at(KeyError(sandbox.password), {"password": sandbox.password})


def test_a_service_that_leaks_nothing_passes(
    sandbox: Sandbox, provider: TokenProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.fail_next("server_error")
    with provider, LeakCheck(sandbox) as check:
        print(provider, provider.token(), sandbox, flush=True)
        logging.Logger("quiet").warning("%s of %s", "one argument")  # logging tells of it on stderr
        sandbox.lock()
        provider.reset()
        with pytest.raises(RefusedError) as caught:
            provider.token()
        check.look_at(caught.value)
    assert "Token" in capsys.readouterr().out


def test_an_error_without_a_secret_passes_through(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="mine"), LeakCheck(sandbox):
        raise ValueError("mine")


def test_a_failed_assertion_is_the_tests_own(sandbox: Sandbox) -> None:
    with pytest.raises(AssertionError, match=r"^mine"), LeakCheck(sandbox):
        raise AssertionError(f"mine: {sandbox.password}")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_is_seen_that_pytest_puts_back(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(AssertionError, match=f"the password shows in {name}"), LeakCheck(sandbox):
        with capsys.disabled():  # as for each record of a live log, and between a fixture and its test
            pass
        print(sandbox.password, file=getattr(sys, name))


def test_a_stream_is_seen_that_a_handler_has_kept(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    print(sandbox.password)
    kept = sys.stdout
    with pytest.raises(AssertionError, match="the password shows in stdout"), LeakCheck(sandbox):
        kept.write(f"{sandbox.password}\n")
    with LeakCheck(sandbox):
        print("mine")
    assert capsys.readouterr().out == f"{sandbox.password}\n{sandbox.password}\nmine\n"


def test_a_stream_of_text_alone_is_seen(sandbox: Sandbox) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as kept:
        with pytest.raises(AssertionError, match="the password shows in stdout"), LeakCheck(sandbox):
            print(sandbox.password)
        assert kept.getvalue() == f"{sandbox.password}\n"


def test_it_leaves_nothing_behind(sandbox: Sandbox) -> None:
    def state() -> tuple[object, ...]:
        streams = [vars(stream.buffer).get("write") for stream in (sys.stdout, sys.stderr)]
        return logging.getLogRecordFactory(), logging.getLogger().level, streams, warnings.showwarning

    before = state()
    check = LeakCheck(sandbox)
    with check, check:  # a fixture's and a test's
        assert state() != before
    assert state() == before
