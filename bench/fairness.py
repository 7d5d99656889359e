"""Shell. `bench fairness`: callers of different weight, all backlogged, before a gateway with few slots.

Each caller keeps `depth` requests of mixed lengths under way, so each always has jobs waiting; the mock has as many
slots as the gateway may use, so the gateway's scheduler alone decides. Service is the true usage in the answers
(prompt + completion tokens), counted when an answer arrives. The window begins when the queues have filled.
"""

import random
import time
from dataclasses import dataclass, field

import msgspec

from bench.answers import Answer
from bench.client import Client, Job
from bench.reactor import Reactor
from bench.shares import ServiceLog
from bench.targets import Target
from bench.workload import RequestSpec, encode_request

DIFFERENT_REQUESTS = 64


@dataclass(frozen=True, slots=True)
class FairnessPlan:
    weights: dict[str, int]
    keys: dict[str, str]
    model: str = "mock-8b"
    slots: int = 16
    depth: int = 64
    seconds: float = 10.0
    warm_seconds: float = 2.0
    prompt_bytes: tuple[int, int] = (100, 1200)
    max_tokens: tuple[int, int] = (16, 128)
    seed: int = 1


@dataclass(slots=True)
class FairnessOutcome:
    scheduler: str
    log: ServiceLog
    seconds: float
    errors: list[str] = field(default_factory=list)
    largest_prompt_tokens: int = 0
    largest_completion_tokens: int = 0

    @property
    def tokens_per_second(self) -> float:
        return self.log.total_tokens / self.seconds


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Answered(msgspec.Struct):
    usage: _Usage


_decode_answer = msgspec.json.Decoder(_Answered).decode


class FairnessLoad:
    def __init__(self, plan: FairnessPlan, target: Target, scheduler: str) -> None:
        self._plan = plan
        self._reactor = Reactor()
        self._client = Client(self._reactor, target.host, target.port)
        self._random = random.Random(plan.seed)
        self._payloads = {name: self._make_payloads(key) for name, key in plan.keys.items()}
        self._is_running = True
        self.outcome = FairnessOutcome(scheduler, ServiceLog(plan.weights), plan.seconds)

    def _make_payloads(self, key: str) -> list[bytes]:
        """The same lengths for every caller, whatever its weight."""
        source = random.Random(self._plan.seed)
        specs = [
            RequestSpec(
                model=self._plan.model,
                max_tokens=source.randint(*self._plan.max_tokens),
                prompt_bytes=source.randint(*self._plan.prompt_bytes),
                key=key,
            )
            for _ in range(DIFFERENT_REQUESTS)
        ]
        return [encode_request(spec) for spec in specs]

    def run(self) -> FairnessOutcome:
        start = time.monotonic_ns()
        window = start + int(self._plan.warm_seconds * 1e9)
        end = window + int(self._plan.seconds * 1e9)
        # Callers take turns while the queues fill, so that none gets all slots merely by being first.
        for _ in range(self._plan.depth):
            for name in self._plan.weights:
                self._send(name)
        self._reactor.run_until(end)
        self._is_running = False
        self._client.close()
        self._reactor.close()
        self.outcome.log = self.outcome.log.between(window, end)
        return self.outcome

    def _send(self, name: str) -> None:
        payload = self._random.choice(self._payloads[name])
        self._client.start(Job(payload, Answer(), self._done, tag=name))

    def _done(self, job: Job) -> None:
        status = job.answer.status
        if job.error or status != 200:
            body = job.answer.body[:200].decode("utf-8", "replace")
            self.outcome.errors.append(job.error or f"status {status}: {body}")
            if len(self.outcome.errors) > 1000:
                self._reactor.stop()
                return
        else:
            usage = _decode_answer(job.answer.body).usage
            outcome = self.outcome
            outcome.largest_prompt_tokens = max(outcome.largest_prompt_tokens, usage.prompt_tokens)
            outcome.largest_completion_tokens = max(outcome.largest_completion_tokens, usage.completion_tokens)
            outcome.log.note(job.ended_ns, job.tag, usage.prompt_tokens + usage.completion_tokens)
        if self._is_running:
            self._send(job.tag)
