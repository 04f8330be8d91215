"""A sandbox in a process of its own, so that its work costs the client's process nothing.

`python sandbox_process.py JSON` serves with these options and prints its settings. Each line on its input is JSON, the
name of an attribute or a method with its arguments, and is answered with a line: its value.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from enkash_auth import Credentials
from enkash_auth.testing import Sandbox


class Elsewhere:
    """The sandbox as its client's process sees it: `Elsewhere(dialect="500").ask("start_outage", "silence")`."""

    def __init__(self, **options: Any) -> None:
        command = [sys.executable, str(Path(__file__)), json.dumps(options)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process: Any = subprocess.Popen(command, **pipes)
        settings = self._read()
        self.base_url = settings["ENKASH_BASE_URL"]
        del settings["ENKASH_ATTEMPTS"]  # no credential
        self.credentials = Credentials(**{name[7:].lower(): value for name, value in settings.items()})

    def _read(self) -> Any:
        return json.loads(self._process.stdout.readline())

    def ask(self, name: str, *args: Any, **options: Any) -> Any:
        """The value of the sandbox's attribute, or of its method called with these arguments."""
        self._process.stdin.write(json.dumps([name, args, options]) + "\n")
        self._process.stdin.flush()
        return self._read()

    @property
    def token_requests(self) -> int:
        return int(self.ask("token_requests"))

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=20)


def main(options: dict[str, Any]) -> None:
    with Sandbox(**options) as sandbox:
        print(json.dumps(sandbox.environment()), flush=True)
        for line in sys.stdin:
            name, args, more = json.loads(line)
            found = getattr(sandbox, name)
            print(json.dumps(found(*args, **more) if callable(found) else found), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
