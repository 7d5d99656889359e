"""A small result with everything in it."""

from bench.histogram import Histogram
from bench.results import SCHEMA, Caller, Cost, Fidelity, RunResult, Second, metric_of


def example(**changes):
    histogram = Histogram()
    histogram.record_all(range(1_000_000, 3_000_000, 1_000))
    fields = {
        "schema": SCHEMA,
        "title": "a <b>",
        "url": "http://127.0.0.1:1",
        "plan": {"loop": "closed", "concurrency": 4},
        "environment": {"cpu": "2 x cpu"},
        "seconds": 2.0,
        "requests": 2000,
        "succeeded": 2000,
        "unfinished": 0,
        "errors": {},
        "tokens": 4000,
        "metrics": [metric_of("e2e", "end to end", histogram), metric_of("lag", "generator lag", histogram)],
        "callers": [Caller("caller 1", 1000, 0, 2000), Caller("caller 2", 1000, 0, 2000)],
        "timeline": [Second(0, 1000, 0, 2000, 30_000_000), Second(1, 1000, 0, 2000, 31_000_000)],
        "fidelity": Fidelity(2000, 2000, 0, 0),
        "cost": Cost([1], 0.5, 250.0, 125.0, 30_000_000, 31_000_000, 31_000_000, 10),
    }
    return RunResult(**fields | changes)
