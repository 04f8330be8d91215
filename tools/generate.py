"""Generates the client from the spec, unless it is up to date, and reports what changed since a git ref."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:  # these imports take most of a second; Ctrl-C must be quiet then, too
    import codegen
    import gate
    import judge
    import spec_facts
except KeyboardInterrupt:
    sys.exit(130)

# the last: a read-only folder, a full disk
FAILURES = spec_facts.SpecError, codegen.GenerationError, judge.JudgementError, OSError


def once(root: Path, against: str | None) -> int:
    """Update generated/. Return 0 if the wrapper fits it; if not, print why."""
    try:
        spec_facts.read(root / codegen.SPEC)
        if codegen.is_current(root):
            print("generated/ is up to date", flush=True)
        else:
            codegen.regenerate(root, Path(sys.executable).parent)
            print("generated/ is new", flush=True)
    except FAILURES as error:
        print(f"{_text(error)}\ngenerated/ is unchanged", file=sys.stderr)
        return 1
    return judge.tell(root, against, client=True)


def check(root: Path) -> int:
    """Return 0 if generated/ is what the spec generates and `info.version` allows it; if not, print why."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            spec_facts.read(root / codegen.SPEC)
            codegen.generate_into(root, Path(sys.executable).parent, fresh := Path(scratch, "fresh"))
            wrong = codegen.differences(fresh, root / codegen.TARGET)
        passes, said = (False, _drifted(wrong)) if wrong else gate.check(root)
    except FAILURES as error:
        passes, said = False, _text(error)
    print(said, file=sys.stdout if passes else sys.stderr)
    return 0 if passes else 1


def _drifted(wrong: list[str]) -> str:
    lines = ["generated/ is not what the spec generates:", *wrong, "run nox -s generate, and commit what it writes"]
    return "\n".join(lines)


def _text(error: Exception) -> str:
    return f"{codegen.SPEC}: {error}" if isinstance(error, spec_facts.SpecError) else str(error)


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


if __name__ == "__main__":
    parser = judge.parser(__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--watch", action="store_true", help="again on each save of the spec")
    kind.add_argument(
        "--check",
        action="store_true",
        help="only compare generated/ with what the spec generates, and judge info.version",
    )
    given = parser.parse_args()
    try:
        ended = check(judge.ROOT) if given.check else (forever if given.watch else once)(judge.ROOT, given.against)
    except KeyboardInterrupt:
        if not given.watch:  # the run itself reports it
            print("interrupted: generated/ is unchanged, or completely new", file=sys.stderr)
        ended = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while the interpreter ends, Ctrl-C would print a traceback
    sys.exit(ended)
