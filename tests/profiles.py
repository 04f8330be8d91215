"""How long Hypothesis searches. Not in conftest, which is loaded twice: by pytest, and by tests that import it."""

from hypothesis import Phase, settings

# the same examples in each run: the gate fails for a change, not by chance; `nox -s simulation` searches at random
settings.register_profile("short", max_examples=100, stateful_step_count=50, derandomize=True, deadline=None)
settings.register_profile("deep", max_examples=3000, stateful_step_count=100, derandomize=False, deadline=None)
settings.register_profile("mutation", settings.get_profile("deep"), phases=[Phase.generate])  # no time for shrinking
settings.load_profile("short")
