"""The README's examples run."""

import re
from pathlib import Path

import pytest

from enkash_auth.testing import Sandbox

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_examples_run(enkash_sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict[str, object] = {}
    exec("\n".join([*blocks, "import asyncio", "asyncio.run(main())", "auth.close()"]), scope)
    enkash_sandbox.assert_token_requests(1)
    assert capsys.readouterr().out.count("True") == 2


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 110
