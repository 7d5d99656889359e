"""Pure. Jobs that had their turn, met a failing backend and wait for another one: ahead of all that wait for a first.

They were charged when their turn came, so the discipline need not know them. They are kept by what they exclude, so a
backend that many of them exclude is passed over at once, and blocks nobody. Few: the retry budget bounds them.
Read next: `grant.py`.
"""

from collections.abc import Set as AbstractSet

from mrproxy.scheduler.job import Job

_NOTHING: frozenset[str] = frozenset()


class RetryLine:
    """Per model, first come first served among those the backend may serve (by exclusions of equal age)."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        # model -> what is excluded -> the jobs in order; a dict is a queue with removal in O(1)
        self._lines: dict[str, dict[AbstractSet[str], dict[Job, None]]] = {}

    def add(self, job: Job) -> None:
        excluded = frozenset(job.excluded or _NOTHING)
        self._lines.setdefault(job.model, {}).setdefault(excluded, {})[job] = None

    def discard(self, job: Job) -> bool:
        """Take it out; False if it is not here."""
        lines = self._lines.get(job.model, {})
        excluded = frozenset(job.excluded or _NOTHING)
        if job not in lines.get(excluded, ()):
            return False
        self._remove(job, excluded)
        return True

    def next_job(self, model: str, backend_name: str) -> Job | None:
        """The next job which that backend may serve, taken out."""
        for excluded, line in self._lines.get(model, {}).items():
            if backend_name not in excluded:
                job = next(iter(line))
                self._remove(job, excluded)
                return job
        return None

    def _remove(self, job: Job, excluded: AbstractSet[str]) -> None:
        lines = self._lines[job.model]
        del lines[excluded][job]
        if not lines[excluded]:
            del lines[excluded]
        if not lines:
            del self._lines[job.model]
