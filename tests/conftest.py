"""For all tests: Hypothesis without its clock and without chance, so that a busy machine changes no result."""

from hypothesis import settings

from tests.fakes.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

# Few examples: each run of the suite has the same ones. `MRPROXY_FUZZ_EXAMPLES` searches for more (tests/fuzzing.py).
settings.register_profile("mrproxy", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("mrproxy")
