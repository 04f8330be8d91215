"""Generates the client from the spec, unless it is up to date, and reports what changed since a git ref."""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

try:  # these imports take most of a second; Ctrl-C must be quiet then, too
    import codegen
    import facts
    import judge
except KeyboardInterrupt:
    sys.exit(130)

ROOT = Path(__file__).resolve().parents[1]
FAILURES = codegen.GenerationError, OSError  # the latter: a read-only folder, a full disk


def once(root: Path, against: str | None) -> int:
    """Update generated/. Return 0 if the wrapper fits it; if not, print why."""
    try:
        facts.load((root / codegen.SPEC).read_bytes())
        if codegen.is_current(root):
            print("generated/ is up to date", flush=True)
        else:
            codegen.regenerate(root, Path(sys.executable).parent)
            print("generated/ is new", flush=True)
    except FAILURES as error:
        print(f"{error}\ngenerated/ is unchanged", file=sys.stderr)
        return 1
    return tell(root, against, client=True)


def tell(root: Path, against: str | None, *, client: bool) -> int:
    """Print the report on the spec, or on the wrapper's API; return 0 if the wrapper type-checks."""
    text, sound = judge.report(root, against, client=client)
    print(text, flush=True)
    return 0 if sound else 1


def check(root: Path) -> int:
    """Return 0 if generated/ is what the spec generates and `info.version` allows it; if not, print why."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        facts.load((root / codegen.SPEC).read_bytes())
        codegen.generate_into(root, Path(sys.executable).parent, fresh := Path(scratch, "fresh"))
        wrong = codegen.differences(fresh, root / codegen.TARGET)
    lines = ["generated/ is not what the spec generates:", *wrong, "run nox -s generate, and commit what it writes"]
    passes, said = (False, "\n".join(lines)) if wrong else judge.gate(root)
    print(said, file=sys.stdout if passes else sys.stderr)
    return 0 if passes else 1


def forever(root: Path, against: str | None) -> int:
    """Run `once` now and after each save of the spec, each time in a new process, until an interrupt."""
    from watchfiles import watch

    command = [sys.executable, __file__, *(["--against", against] if against else [])]

    def start(why: str) -> subprocess.Popen[bytes]:
        print(f"{time.strftime('%H:%M:%S')} {why}", flush=True)
        return subprocess.Popen(command)

    run = start(f"watching {codegen.SPEC.parent}/, until Ctrl-C")
    try:
        for _ in watch(root / codegen.SPEC.parent):
            run.wait()  # a run is never cut short
            run = start(f"{codegen.SPEC.parent}/ was saved")
    finally:
        run.wait()  # Ctrl-C reaches this process, too
    return 0


def main(root: Path, words: list[str]) -> int:
    """Do what the command's words ask for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="REF", help="default: the last release's tag; before the first, HEAD")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--watch", action="store_true", help="again on each save of the spec")
    kind.add_argument("--check", action="store_true", help="only compare generated/ with the spec, judge info.version")
    kind.add_argument("--api", action="store_true", help="only report what changed in the wrapper's public API")
    given = parser.parse_args(words)
    try:
        if given.check:
            return check(root)
        if given.api:
            return tell(root, given.against, client=False)
        return (forever if given.watch else once)(root, given.against)
    except FAILURES as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if not given.watch:  # the run itself reports it
            print("interrupted: generated/ is unchanged, or completely new", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # an arrow, or a name in the spec
    ended = 130
    with suppress(KeyboardInterrupt):  # until it is ignored: while the interpreter ends, it would print a traceback
        ended = main(ROOT, sys.argv[1:])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(ended)
