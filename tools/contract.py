"""Signs in twice and reports where the answers differ from the spec: `nox -s contract -- URL`.

The settings are the environment's, but the URL. One password is sent before the first success, and each is counted in
the file of attempts, as a provider without a store counts it. The report holds names and types, never a value but the
life.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx

import observations
from codegen import SPEC
from deviations import Findings, Spec
from enkash_auth._policy.attempts import Decision
from enkash_auth._policy.outcome import Failure, Issued, Unavailable
from enkash_auth._runtime import current_runtime
from enkash_auth._settings.credentials import Credentials
from enkash_auth._settings.environment import attempts_path, load_token_store
from enkash_auth._settings.origin import is_loopback
from enkash_auth._signin.attempts_file import Attempts
from enkash_auth._signin.gateway import Gateway
from enkash_auth._signin.tls import tls_context
from enkash_auth._versions import version
from enkash_auth.cli._status import state_of
from enkash_auth.errors import ConfigurationError, EnkashAuthError
from observations import Answered, Observation, describe

ROOT = Path(__file__).resolve().parents[1]
DIFFERS = "differs from"
_LARGEST = 128 * 1024  # bytes of an answer
_PATIENCE, _BETWEEN = 10.0, 2.0  # seconds for a sign-in, and between the two


class Recorder(httpx.BaseTransport):
    """The gateway's transport: passes each request on to a client, and keeps the answer."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.answer: Answered | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._client.send(request, stream=True, follow_redirects=False)
        body = b""
        for part in response.iter_bytes():
            body += part
            if len(body) > _LARGEST:  # more than the gateway takes
                break
        response.close()
        self.answer = Answered(response.status_code, response.headers.multi_items(), body)
        headers = [pair for pair in self.answer.headers if pair[0] not in ("content-encoding", "content-length")]
        return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(self.answer.body))


class Account:
    """Signs in with some credentials, one request at a time."""

    def __init__(self, credentials: Credentials, client: httpx.Client) -> None:
        self.host, self._credentials = credentials.origin[1], credentials
        self._runtime, self._recorder = current_runtime(), Recorder(client)
        self._gateway = Gateway(credentials, transport=self._recorder)
        self._attempts = Attempts(attempts_path(), self._runtime)

    def check(self) -> None:
        """Raise `EnkashAuthError` if the password must not be sent, or would not be counted."""
        if state_of(self._credentials, None).trouble:
            raise ConfigurationError("passwords are not counted: set ENKASH_ATTEMPTS to a file that can be written")
        store = load_token_store()  # its processes may know of a refusal
        if store is not None and (failure := state_of(self._credentials, store).failure):
            raise failure.to_exception()

    def sign_in(self) -> tuple[Issued | Failure, Answered | None, float]:
        """Send one password, if the attempts so far allow it; return the outcome, the answer and when it came."""
        fingerprint, deadline = self._credentials.fingerprint(), self._runtime.now().after(_PATIENCE)
        begun = self._attempts.begin(fingerprint, deadline, read=True)  # the settings have just been read
        if isinstance(begun, Decision):
            return begun.failure(self.host, self._runtime.monotonic()), None, 0.0
        self._recorder.answer = None
        reply = self._gateway.grant(deadline, self._runtime)
        decision, now = self._attempts.record(fingerprint, begun.answered(reply.answer)), self._runtime.monotonic()
        outcome = reply.outcome if isinstance(reply.outcome, Issued) else decision.limiting(reply.outcome, now)
        return outcome, self._recorder.answer, now

    def observe(self) -> tuple[Observation | None, list[Answered], Failure | None]:
        """Sign in, and a second time if that brings a token; return what was observed, the answers and a failure."""
        rounds = [self.sign_in()]
        if isinstance(rounds[0][0], Issued):
            self._runtime.pause(_BETWEEN)
            rounds.append(self.sign_in())
        tokens = [one for one, _, _ in rounds if isinstance(one, Issued)]
        failure = next((one for one, _, _ in rounds if not isinstance(one, Issued)), None)
        # an outage says nothing about the contract
        answers = [one for outcome, one, _ in rounds if one and not isinstance(outcome, Unavailable)]
        if not answers:
            return None, [], failure
        hidden = [self._credentials.password.reveal(), self._credentials.client_secret.reveal()]
        described = [describe(one, [*hidden, *self._credentials.account[1:]]) for one in answers]
        today = datetime.fromtimestamp(self._runtime.wall(), UTC).date().isoformat()
        seen: Observation = {"host": self.host, "date": today, "client": version()}
        if len(tokens) == 2:
            same = tokens[0].access_token == tokens[1].access_token
            seen |= compare(same, described, rounds[1][2] - rounds[0][2])
        return {**seen, "answers": described}, answers, failure


def compare(same: bool, described: list[Observation], seconds: float) -> Observation:
    """Return whether the server is sticky, and the unit of its lives, as far as two answers show it."""
    first, second = (one.get("life") for one in described)
    if not same:  # the first token may have expired
        return {} if first is not None and first <= seconds + 1 else {"same_token": False}
    if first is None or second is None or first <= second:
        return {"same_token": True}
    units = {"seconds": 1.0, "milliseconds": 1000.0}
    found = [name for name, size in units.items() if abs((first - second) / size - seconds) <= 1]
    return {"same_token": True, **({"unit": found[0]} if found else {})}


def report(root: Path, credentials: Credentials, client: httpx.Client) -> Iterator[str]:
    """Sign in, yield the report's lines, and save what was observed; raise `EnkashAuthError` without two tokens."""
    account, spec = Account(credentials, client), Spec(root)
    account.check()
    seen, answers, failure = account.observe()
    if seen:
        yield f"{seen['host']}, {seen['date']}"
        for number, one in enumerate(seen["answers"], 1):
            shown = {**one, "fields": ", ".join(f"{name} {kind}" for name, kind in one["fields"].items()) or "none"}
            yield f"answer {number}"
            yield from (f"  {k}: {', '.join(v) if isinstance(v, list) else v}" for k, v in shown.items())
        yield f"second sign-in: {observations.second(seen)}"
        pairs = zip(answers, seen["answers"], strict=True)
        if found := sorted({one for answer, shape in pairs for one in spec.differences(answer, shape)}):
            yield from _named(f"{DIFFERS} {SPEC}; edit these lines:", found)
        if is_loopback(seen["host"]):
            yield "not saved: this host is the machine itself"
        else:
            yield from _kept(root, spec, seen)
    if failure:
        raise failure.to_exception()


def _kept(root: Path, spec: Spec, seen: Observation) -> Iterator[str]:
    if found := spec.open_questions(seen):
        yield from _named(f"{SPEC} leaves this open; add 'observed on {seen['host']}' to these lines:", found)
    kept = [one for one in observations.read(root) if one["host"] == seen["host"]]
    before = [one for one in kept if observations.issued(one) == observations.issued(seen)]
    if before and (changed := observations.changes(before[-1], seen)):
        yield from (f"changed since {before[-1]['date']}:", *(f"  {line}" for line in changed))
    yield f"saved as {observations.save(root, seen)} and on {observations.PAGE}: commit both"


def _named(title: str, found: Findings) -> Iterator[str]:
    yield title
    yield from (f"  line {line}: {text}" for line, text in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the token host, as in ENKASH_BASE_URL: UAT's, not production's")
    lines = []
    try:
        given = Credentials.load(base_url=parser.parse_args().url)
        with httpx.Client(verify=tls_context(True), mounts={"http://": None}) as http:
            for line in report(ROOT, given, http):
                print(line, flush=True)
                lines.append(line)
    except EnkashAuthError as error:
        sys.exit(f"Error: {error}")
    sys.exit(any(line.startswith(DIFFERS) for line in lines))
