"""A token server for tests: it behaves as EnKash's is inferred to, in process or on a loopback port."""

from typing import TYPE_CHECKING

from ._answers import Faults
from ._contract import StoreContract
from ._dialects import DIALECTS, Dialect
from ._leaks import LeakCheck
from ._sandbox import Sandbox

if TYPE_CHECKING:
    from ._transport import SandboxTransport

__all__ = ["DIALECTS", "Dialect", "Faults", "LeakCheck", "Sandbox", "SandboxTransport", "StoreContract"]

if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        if name == "SandboxTransport":  # its base class is httpx's, which the pytest plugin must not import
            from ._transport import SandboxTransport

            return SandboxTransport
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
