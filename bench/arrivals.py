"""Pure. When requests are meant to start: schedules for the open loop, in seconds from the run's start."""

import random
from collections.abc import Iterator


def constant(rate: float, seconds: float) -> Iterator[float]:
    """Evenly spaced, `rate` a second."""
    for index in range(int(rate * seconds)):
        yield index / rate


def poisson(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Independent arrivals: exponential gaps with mean 1/rate; the same for the same seed."""
    source = random.Random(seed)
    at = source.expovariate(rate)
    while at < seconds:
        yield at
        at += source.expovariate(rate)
