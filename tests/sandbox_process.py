"""A sandbox in a process of its own, so that its work costs the client's process nothing.

`python sandbox_process.py JSON` serves with these options, prints its settings, and a line of counters for each line on
its input.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from enkash_auth import Credentials
from enkash_auth.testing import Sandbox


class Elsewhere:
    """The sandbox as its client's process sees it."""

    def __init__(self, **options: Any) -> None:
        command = [sys.executable, str(Path(__file__)), json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        settings = self._read()
        self.base_url = settings["ENKASH_BASE_URL"]
        self.credentials = Credentials(**{name[7:].lower(): value for name, value in settings.items()})

    def _read(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    @property
    def token_requests(self) -> int:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._read())

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate(timeout=20)


def main(options: dict[str, Any]) -> None:
    with Sandbox(**options) as sandbox:
        print(json.dumps(sandbox.environment()), flush=True)
        for _ in sys.stdin:
            print(sandbox.token_requests, flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
