"""A process that signs in without a store: `python attempts_process.py FILE SENT ANSWER LATER`.

It appends a line to SENT for each password that leaves. ANSWER is a status, or `killed`: it ends before an answer came.
Its clocks are LATER seconds ahead. It waits for a line on its input, and for the input's end before it is answered; it
prints what it was allowed.
"""

import os
import signal
import sys
import time
from pathlib import Path

from enkash_auth._policy.attempts import Attempt
from enkash_auth._policy.classification import Answer
from enkash_auth._runtime import Runtime
from enkash_auth._signin.attempts_file import Attempts


def main(file: str, sent: str, answer: str, later: str) -> None:
    runtime = Runtime(lambda: time.monotonic() + float(later), lambda: time.time() + float(later))
    attempts = Attempts(Path(file), runtime)
    print("ready", flush=True)
    sys.stdin.readline()
    got = attempts.begin("fingerprint", runtime.now().after(5))
    if isinstance(got, Attempt):
        with Path(sent).open("a") as passwords:
            passwords.write(f"{os.getpid()}\n")
        if answer == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdin.read()  # the answer comes once all have been told to go
        attempts.record("fingerprint", got.answered(Answer(int(answer), json=True, token=answer == "200")))
        print("sent", flush=True)
    else:
        print("final" if got.final else got.row, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
