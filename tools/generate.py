"""Generates the client from the spec, unless it is up to date, and judges what changed since a git ref."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import codegen
import judge
import spec_facts


def once(root: Path, against: str | None) -> int:
    """Return 0 where generated/ is the spec's and the wrapper fits it; print why where not."""
    try:
        spec_facts.read(root / codegen.SPEC)
        if codegen.is_current(root):
            print("generated/ is up to date", flush=True)
        else:
            codegen.regenerate(root, Path(sys.executable).parent)
            print("generated/ is new", flush=True)
    except spec_facts.SpecError as error:
        problem = f"{codegen.SPEC}: {error}"
    except codegen.GenerationError as error:
        problem = str(error)
    else:
        return judge.tell(root, against, client=True)
    print(f"{problem}\ngenerated/ is as it was", file=sys.stderr)
    return 1


def forever(root: Path, against: str | None) -> None:
    """Do `once` now and on each save of the spec, in a process of its own, until an interrupt."""
    from watchfiles import run_process

    command = [sys.executable, __file__, *(["--against", against] if against else [])]
    run_process(root / codegen.SPEC.parent, target=shlex.join(command), target_type="command")


if __name__ == "__main__":
    parser = judge.parser(__doc__)
    parser.add_argument("--watch", action="store_true", help="again on each save of the spec")
    given = parser.parse_args()
    try:
        sys.exit((forever if given.watch else once)(judge.ROOT, given.against))
    except KeyboardInterrupt:
        print("interrupted: generated/ is as it was, or new as a whole", file=sys.stderr)
        sys.exit(130)
