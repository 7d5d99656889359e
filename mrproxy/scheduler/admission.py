"""Pure. Who may join a queue, and what those are told who may not: 429 or 503, with when to come back.

`Retry-After` is the time to serve all who wait for that model now, at the rate measured lately.
Read next: `drain.py`.
"""

from typing import Protocol

from mrproxy.errors import Code, Refused
from mrproxy.scheduler.drain import DrainRate
from mrproxy.scheduler.job import Job


class QueueSettings(Protocol):
    @property
    def queue_max_jobs(self) -> int: ...
    @property
    def queue_max_jobs_per_flow(self) -> int: ...
    @property
    def queue_deadline_seconds(self) -> float: ...


class Admission:
    """One drain rate per model that anybody ever waited for."""

    __slots__ = ("_rates",)

    def __init__(self) -> None:
        self._rates: dict[str, DrainRate] = {}

    def check(
        self, job: Job, settings: QueueSettings, *, of_flow: int, in_all: int, for_model: int, now: float
    ) -> None:
        """`of_flow`, `in_all`, `for_model`: jobs waiting now. Raises Refused; 429 first: it says who can help it."""
        if of_flow >= settings.queue_max_jobs_per_flow:
            raise Refused(
                Code.FLOW_QUEUE_FULL,
                f"{of_flow} of your requests are waiting already",
                retry_after_seconds=self._retry_after_seconds(job.model, for_model + 1, now),
            )
        if in_all >= settings.queue_max_jobs:
            raise Refused(
                Code.QUEUE_FULL,
                "too many requests are waiting",
                retry_after_seconds=self._retry_after_seconds(job.model, for_model + 1, now),
            )
        if job.model not in self._rates:
            self._rates[job.model] = DrainRate(now)  # its clock starts with the first who waits

    def note_hand_over(self, model: str, now: float) -> None:
        rate = self._rates.get(model)
        if rate is not None:
            rate.note(now)

    def timed_out(self, model: str, settings: QueueSettings, *, for_model: int, now: float) -> Refused:
        return Refused(
            Code.QUEUE_TIMEOUT,
            f"no slot became free within {settings.queue_deadline_seconds:g} s",
            retry_after_seconds=self._retry_after_seconds(model, for_model, now),
        )

    def _retry_after_seconds(self, model: str, jobs: int, now: float) -> float:
        return self._rates.get(model, DrainRate(now)).seconds_for(jobs, now)
