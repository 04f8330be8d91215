"""Runs tools/release.py of the working directory with what was built there before: each index gets the same files."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, "tools")
import release


def build(root: Path, scratch: Path) -> list[Path]:
    """Give what `release.build` gives, at no cost."""
    shutil.copytree(root / ".nox" / "environment", scratch / "environment", symlinks=True)
    return [next((root / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl")]


release.build = build
sys.exit(release.main(sys.argv[1:]))
