"""A token server for tests: it behaves as EnKash's is inferred to, in process or on a loopback port."""

from ._answers import Faults
from ._contract import StoreContract
from ._leaks import LeakCheck
from ._run import Sandbox

__all__ = ["Faults", "LeakCheck", "Sandbox", "StoreContract"]
