"""Generates the client from the spec, unless it is up to date, and judges what changed: `[--against REF]`."""

from __future__ import annotations

import sys
from pathlib import Path

import codegen
import judge
import spec_facts


def main(root: Path, against: str | None) -> int:
    """Return 0 where generated/ is the spec's and the wrapper fits it; print why where not."""
    try:
        spec_facts.load((root / codegen.SPEC).read_text(encoding="utf-8"))
        if codegen.is_current(root):
            print("generated/ is up to date", flush=True)
        else:
            codegen.regenerate(root, Path(sys.executable).parent)
            print("generated/ is new", flush=True)
    except (codegen.GenerationError, spec_facts.SpecError) as error:
        where = f"{codegen.SPEC}: " if isinstance(error, spec_facts.SpecError) else ""
        print(f"{where}{error}\ngenerated/ is as it was", file=sys.stderr)
        return 1
    return judge.tell(root, against, client=True)


if __name__ == "__main__":
    given = judge.arguments(__doc__)
    try:
        sys.exit(main(given.root, given.against))
    except KeyboardInterrupt:
        print("interrupted: generated/ is as it was, or new as a whole", file=sys.stderr)
        sys.exit(130)
