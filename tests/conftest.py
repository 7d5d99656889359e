"""For all tests: Hypothesis without its clock and without chance, so that a busy machine changes no result."""

from hypothesis import settings

from tests.fakes.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

settings.register_profile("mrproxy", deadline=None, derandomize=True)
settings.load_profile("mrproxy")
