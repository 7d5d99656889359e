"""Shell. Grants: from a job to a slot, at once or when its turn comes.

A slot is counted on its backend (`take`, `release`) and held by exactly one `Grant`. While nobody waits for a model, a
free slot is granted synchronously. Otherwise the job waits, and whoever frees a slot picks the next job and hands the
grant over on that job's own channel: nobody else wakes. A waiter that is cancelled takes itself out, and if it had been
granted by then, passes the slot on. Work-conserving: at every await, no slot is free that a waiting job could use.

Nothing here awaits between looking and taking, so there are no locks. No notion of connections or bytes.
Read next: `wdrr.py` (whose turn), `placement.py` (where), docs/scheduler.md (both, with the bound).
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import trio

from mrproxy.errors import Code, Refused
from mrproxy.scheduler.admission import Admission, QueueSettings
from mrproxy.scheduler.job import Job
from mrproxy.scheduler.placement import Candidate, Placement
from mrproxy.scheduler.retries import RetryLine
from mrproxy.scheduler.ring import QueueStatistics


class Slots(Candidate, Protocol):
    """A backend as the scheduler sees it: a candidate whose slots can be taken and given back."""

    def take(self) -> None: ...
    def release(self) -> None: ...


B = TypeVar("B", bound=Slots)
B_co = TypeVar("B_co", bound=Slots, covariant=True)


class Backends(Protocol[B_co]):
    def candidates(self, model: str) -> Sequence[B_co]:
        """Routable now for this model; full ones included."""


class Discipline(Protocol):
    """`Wdrr` or `Fifo`."""

    waiting_total: int

    def waiting(self, model: str) -> int: ...
    def waiting_of_flow(self, flow_id: str) -> int: ...
    def submit(self, job: Job) -> None: ...
    def next_job(self, model: str) -> Job | None: ...
    def cancel(self, job: Job) -> bool: ...
    def grant_immediate(self, job: Job) -> None: ...
    def settle(self, job: Job, true_cost_tokens: int | None) -> None: ...
    def statistics(self) -> tuple[QueueStatistics, ...]: ...


class Grant(Generic[B]):
    """One slot of `backend`, held. Leaving the `with` gives it back; `release` earlier tells the true cost."""

    __slots__ = ("_is_held", "_scheduler", "backend", "job", "queue_seconds")

    def __init__(self, scheduler: "Scheduler[B]", backend: B, job: Job, queue_seconds: float) -> None:
        self._scheduler = scheduler
        self._is_held = True
        self.backend = backend
        self.job = job
        self.queue_seconds = queue_seconds

    def __enter__(self) -> "Grant[B]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_held:
            self.release()

    @property
    def is_held(self) -> bool:
        return self._is_held

    def release(self, true_cost_tokens: int | None = None) -> None:
        """Give the slot back, once; later calls do nothing. None: the truth is not known, the estimate stands."""
        if self._is_held:
            self._is_held = False
            self._scheduler.finish(self, true_cost_tokens)

    def surrender(self) -> None:
        """Give the slot back but not the turn: the job goes on to another backend (`Scheduler.regrant`)."""
        self._is_held = False
        self.backend.release()
        self._scheduler.slot_freed(self.backend)


class _Waiter(Generic[B]):
    """One waiting job's end of the hand-over."""

    __slots__ = ("channel", "earlier_seconds", "grant", "since_at")

    def __init__(self, channel: "trio.MemorySendChannel[Grant[B]]", since_at: float, earlier_seconds: float) -> None:
        self.channel = channel
        self.since_at = since_at
        self.earlier_seconds = earlier_seconds
        self.grant: Grant[B] | None = None


class Scheduler(Generic[B]):
    """All waiting jobs of one process, and the way from a freed slot to the next of them."""

    __slots__ = (
        "_admission",
        "_backends",
        "_discipline",
        "_placement",
        "_retries",
        "_turn",
        "_turns",
        "_waiters",
        "_waiting",
        "settings",
    )

    def __init__(
        self, discipline: Discipline, placement: Placement, backends: Backends[B], settings: QueueSettings
    ) -> None:
        self._discipline = discipline
        self._placement = placement
        self._backends = backends
        self.settings = settings  # may be replaced: applies to who comes from then on
        self._admission = Admission()
        self._retries = RetryLine()
        self._waiters: dict[Job, _Waiter[B]] = {}
        self._waiting: dict[str, int] = {}  # model -> waiters, retries included; only models that have some
        self._turns: dict[str, dict[str, int]] = {}  # backend -> model -> when it was last served
        self._turn = 0

    def try_grant(self, job: Job, affinity_key: int = 0) -> Grant[B] | None:
        """A grant without waiting: only if nobody waits for that model and a slot is free. No task switch."""
        model = job.model
        if model in self._waiting and self._discipline.waiting(model):
            return None
        candidates = self._backends.candidates(model)
        if job.excluded:
            candidates = _without(candidates, job.excluded)
        backend = self._placement.choose(candidates, model, affinity_key)
        if backend is None:
            return None
        backend.take()
        self._discipline.grant_immediate(job)
        return Grant(self, backend, job, 0.0)

    async def wait_grant(self, job: Job, affinity_key: int = 0) -> Grant[B]:
        """A grant, at once or in turn. Cancelled: the job is out of the queue and holds nothing.

        Refused: NO_BACKEND (nothing routable now), FLOW_QUEUE_FULL, QUEUE_FULL, QUEUE_TIMEOUT, DRAINING.
        """
        grant = self.try_grant(job, affinity_key)
        if grant is not None:
            return grant
        if not self._backends.candidates(job.model):
            raise Refused(Code.NO_BACKEND, "no backend for this model is available now")
        self._admission.check(
            job,
            self.settings,
            of_flow=self._discipline.waiting_of_flow(job.flow_id),
            in_all=self._discipline.waiting_total,
            for_model=self._waiting.get(job.model, 0),
            now=trio.current_time(),
        )
        if job.excluded:
            self._discipline.grant_immediate(job)
            self._retries.add(job)
        else:
            self._discipline.submit(job)
        return await self._wait_hand_over(job, 0.0)

    async def regrant(self, grant: Grant[B], excluded: AbstractSet[str], affinity_key: int = 0) -> Grant[B]:
        """For a retry: a slot of a backend not in `excluded`, at once or before all who wait for their first.

        The old grant is given up, unless NO_BACKEND is raised (no other backend is routable): then it is still held.
        The job keeps its turn and is not charged again. Otherwise raises as `wait_grant`; then nothing is held.
        """
        job = grant.job
        candidates = _without(self._backends.candidates(job.model), excluded)
        if not candidates:
            raise Refused(Code.NO_BACKEND, "no other backend for this model is available")
        job.excluded = excluded
        backend = self._placement.choose(candidates, job.model, affinity_key)
        if backend is not None:
            backend.take()
            grant.surrender()
            return Grant(self, backend, job, grant.queue_seconds)
        self._retries.add(job)
        grant.surrender()
        return await self._wait_hand_over(job, grant.queue_seconds)

    def slot_freed(self, backend: B) -> None:
        """Hand free slots of this backend to those whose turn it is."""
        while self._waiting and backend.in_flight < backend.max_concurrent:
            job = self._next_job(backend)
            if job is None:
                return
            self._hand_over(job, backend)

    def capacity_changed(self) -> None:
        """A backend became routable, or may hold more at a time."""
        for model in tuple(self._waiting):
            self._fill(model)

    def refuse_waiting(self) -> None:
        """The end of a drain: who still waits is told so, instead of being granted what will be cut off at once."""
        for waiter in tuple(self._waiters.values()):
            waiter.channel.close()

    def finish(self, grant: Grant[B], true_cost_tokens: int | None) -> None:
        """A grant has ended; `Grant.release` calls it, once."""
        backend = grant.backend
        backend.release()
        self._discipline.settle(grant.job, true_cost_tokens)
        if self._waiting:
            self.slot_freed(backend)

    @property
    def waiting_total(self) -> int:
        return len(self._waiters)

    def statistics(self) -> tuple[QueueStatistics, ...]:
        """Who waits for what, for the queue view; jobs waiting to be retried are not in a flow's queue."""
        return self._discipline.statistics()

    async def _wait_hand_over(self, job: Job, earlier_seconds: float) -> Grant[B]:
        send, receive = trio.open_memory_channel[Grant[B]](1)
        waiter = _Waiter(send, trio.current_time(), earlier_seconds)
        self._waiters[job] = waiter
        self._waiting[job.model] = self._waiting.get(job.model, 0) + 1
        # Normally a no-op, since waiting means that all is full. It heals a capacity change nobody announced.
        self._fill(job.model)
        try:
            with trio.move_on_after(self.settings.queue_deadline_seconds):
                return await receive.receive()
        except trio.EndOfChannel:
            self._withdraw(job, waiter)
            raise Refused(Code.DRAINING, "the gateway is shutting down") from None
        except BaseException:
            self._withdraw(job, waiter)
            raise
        if waiter.grant is not None:  # handed over in the very tick of the deadline
            return waiter.grant
        for_model = self._waiting[job.model]
        self._withdraw(job, waiter)
        raise self._admission.timed_out(job.model, self.settings, for_model=for_model, now=trio.current_time())

    def _withdraw(self, job: Job, waiter: _Waiter[B]) -> None:
        """The waiter leaves: out of the queue, or if it was granted already, the slot passes on."""
        if waiter.grant is not None:
            waiter.grant.release(0)
            return
        del self._waiters[job]
        self._uncount(job.model)
        if not self._discipline.cancel(job):
            self._retries.discard(job)
            self._discipline.settle(job, 0)

    def _fill(self, model: str) -> None:
        for backend in tuple(self._backends.candidates(model)):
            if backend.in_flight < backend.max_concurrent:
                self.slot_freed(backend)

    def _next_job(self, backend: B) -> Job | None:
        """Round robin over the models that wait and that this backend serves, the least recently served first."""
        turns = self._turns.get(backend.name)
        if turns is None:
            turns = self._turns[backend.name] = {}
        for model in _by_turn(self._waiting, turns):
            if backend not in self._backends.candidates(model):
                continue
            job = self._retries.next_job(model, backend.name) or self._discipline.next_job(model)
            if job is not None:
                self._turn += 1
                turns[model] = self._turn
                return job
        return None

    def _hand_over(self, job: Job, backend: B) -> None:
        backend.take()
        now = trio.current_time()
        waiter = self._waiters.pop(job)
        self._uncount(job.model)
        self._admission.note_hand_over(job.model, now)
        waiter.grant = Grant(self, backend, job, waiter.earlier_seconds + now - waiter.since_at)
        waiter.channel.send_nowait(waiter.grant)

    def _uncount(self, model: str) -> None:
        left = self._waiting[model] - 1
        if left:
            self._waiting[model] = left
        else:
            del self._waiting[model]


def _without(candidates: Sequence[B], excluded: AbstractSet[str]) -> Sequence[B]:
    return [candidate for candidate in candidates if candidate.name not in excluded]


def _by_turn(models: dict[str, int], turns: dict[str, int]) -> Sequence[str]:
    if len(models) == 1:
        return tuple(models)
    return sorted(models, key=lambda model: turns.get(model, 0))
