"""A process that signs in without a store: `python attempts_process.py FILE ANSWER`.

ANSWER is a status, or `killed`: it ends before an answer came. It waits for a line on its input, prints what it was
allowed, and waits for the input's end before it is answered.
"""

import os
import signal
import sys
from pathlib import Path

from enkash_auth._policy.attempts import Attempt
from enkash_auth._policy.classification import Answer
from enkash_auth._runtime import Runtime
from enkash_auth._signin.attempts_file import Attempts


def main(file: str, answer: str) -> None:
    runtime = Runtime()
    attempts = Attempts(Path(file), runtime)
    print("ready", flush=True)
    sys.stdin.readline()
    got = attempts.begin("fingerprint", runtime.now().after(5))
    sent = isinstance(got, Attempt)
    print("sent" if sent else "final" if got.final else got.row, flush=True)
    if sent and answer == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()  # the answer comes once all have been told to go
    if sent:
        attempts.record("fingerprint", got.answered(Answer(int(answer), json=True, token=answer == "200")))


if __name__ == "__main__":
    main(*sys.argv[1:])
