"""Shell. All backends: started, restarted, withdrawn; and the index of which model is where.

A *pool* is the set of backends that can serve one model; its key is what the scheduler queues by. Any chat can be
translated for any backend, so callers of all dialects wait in one queue; the operations that only some backends can do
at all (embeddings, /api/show) have pools of their own where these differ.
The index is rebuilt when a probe brings news (once in minutes), read on every request (one dict lookup).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
import trio

from mrproxy.canonical.models import Model
from mrproxy.canonical.request import MEDIA, Operation
from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.dialects.lanes import can_serve
from mrproxy.errors import Code
from mrproxy.link.snapshot import BackendSpec
from mrproxy.sockets import Poller
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.live import SWEEP_SECONDS
from mrproxy.upstream.turns import Turns

_RESTART_SECONDS = (0.1, 10.0)
# Of more backends than this the index is built at most every so many seconds: for a thousand it takes 15 ms, and all
# of them have news when the gateway starts.
_FEW_BACKENDS = 64
_REBUILD_SECONDS = 0.25
# Probes begin one after the other: of a thousand at once each would be late, and everybody else would wait for all.
_PROBE_SPACING_SECONDS = 0.001
_SWEPT_AT_ONCE = 100


# Operations of one group have the same backends (`can_serve`); all others are a group together, the chats.
_GROUPS: Mapping[str, frozenset[Operation]] = {
    "embeddings": frozenset({Operation.EMBEDDINGS, Operation.EMBED}),
    "show": frozenset({Operation.SHOW}),
    "count": frozenset({Operation.COUNT_TOKENS}),
    "media": MEDIA,
}
_CHATS = "chats"
_GROUP_OF = dict.fromkeys(Operation, _CHATS) | {
    operation: group for group, operations in _GROUPS.items() for operation in operations
}


class ModelPool:
    """The backends of one model. `key` is its queue; `straight` are the surfaces that all of them serve by themselves,
    for which no attempt needs to choose a lane."""

    __slots__ = ("backends", "key", "model", "straight")

    def __init__(self, key: str, model: str, backends: tuple[Backend, ...]) -> None:
        self.key = key
        self.model = model
        self.backends = backends
        self.straight = frozenset.intersection(*(backend.straight(model) for backend in backends))


class Registry:
    """`changed` is called when a backend became routable, or may hold more: who waits may go on."""

    def __init__(self, counters: Counters, poller: Poller, crashed: Callable[[str, Exception], None]) -> None:
        self.backends: dict[str, Backend] = {}
        self.changed: Callable[[], None] = lambda: None
        self._counters = counters
        self._poller = poller
        self._crashed = crashed
        self._retiring: set[Backend] = set()
        self._scopes: dict[str, trio.CancelScope] = {}
        self._applying = trio.Lock()  # two reloads at the same time must not each start the same backend
        self._probe_turns = Turns(_PROBE_SPACING_SECONDS)
        self._is_stale = trio.Event()
        self._pools: dict[Operation, dict[str, ModelPool]] = {operation: {} for operation in Operation}
        self._by_key: dict[str, ModelPool] = {}

    async def run(
        self,
        specs: Sequence[BackendSpec],
        settings: Settings,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Own the backends' nurseries until cancelled. Started when each was probed once, or was late to answer."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._keep_fresh, name="index of models")
            nursery.start_soon(self._sweep, name="backends' sweep")
            for spec in specs:
                backend, scope = await self._start(spec, settings)
                self._admit(backend, scope)
            await _wait_until_heard_of(self.backends.values(), settings)
            task_status.started()
            await trio.sleep_forever()

    async def apply(self, specs: Sequence[BackendSpec], settings: Settings) -> None:
        """A reload: new ones start, changed addresses are replaced, the missing finish what they have and go.

        The old ones go when the new ones have been heard of: a model that moves is somewhere all the time. Cancelled
        before that: everything is as it was.
        """
        started: list[tuple[Backend, trio.CancelScope]] = []
        async with self._applying:
            try:
                for spec in specs:
                    if not self._has(spec):
                        started.append(await self._start(spec, settings))  # noqa: PERF401  cut off, a comprehension forgets
                await _wait_until_heard_of([backend for backend, _ in started], settings)
                self._exchange(specs, settings, started)
            except BaseException:
                for backend, scope in started:
                    if self.backends.get(backend.name) is not backend:
                        scope.cancel(reason="never admitted")  # nobody else knows of it
                raise

    def _exchange(
        self, specs: Sequence[BackendSpec], settings: Settings, started: list[tuple[Backend, trio.CancelScope]]
    ) -> None:
        wanted = {spec.name: spec for spec in specs}
        for name, backend in list(self.backends.items()):
            if name in wanted and self._has(wanted[name]):
                backend.apply(wanted[name], settings)
            else:
                self._retire(backend, settings)
        for backend, scope in started:
            self._admit(backend, scope)
        self._rebuild()

    def _has(self, spec: BackendSpec) -> bool:
        """That very server; its numbers may be other ones."""
        backend = self.backends.get(spec.name)
        return backend is not None and _server(spec) == _server(backend.spec)

    async def _start(self, spec: BackendSpec, settings: Settings) -> tuple[Backend, trio.CancelScope]:
        """It is probed from now on, and not routed to before it is admitted."""
        backend = Backend(spec, settings, self._counters, self._poller, trio.current_time())
        backend.probe_turns = self._probe_turns
        scope = trio.CancelScope()
        await self._nursery.start(self._keep_running, backend, scope, name=f"backend {spec.name}")
        return backend, scope

    def _admit(self, backend: Backend, scope: trio.CancelScope) -> None:
        backend.changed = self._rebuild
        self.backends[backend.name] = backend
        self._scopes[backend.name] = scope
        self._rebuild()

    async def _keep_running(
        self, backend: Backend, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """The border of a backend: a bug in its tasks ends its nursery, which starts again after a while."""
        wait, longest = _RESTART_SECONDS
        is_first = True
        with scope:
            while True:
                try:
                    if is_first:
                        is_first = False
                        await backend.run(task_status=task_status)
                    else:
                        await backend.run()
                except Exception as exc:
                    self._crashed(f"backend {backend.name}", exc)
                await trio.sleep(wait)
                wait = min(wait * 2, longest)

    def _retire(self, backend: Backend, settings: Settings) -> None:
        """Out of routing at once; its nursery ends when its requests have, or at the drain deadline."""
        del self.backends[backend.name]
        scope = self._scopes.pop(backend.name)
        backend.is_draining = True
        self._retiring.add(backend)
        self._nursery.start_soon(
            self._end_when_idle, backend, scope, settings.drain_seconds, name=f"retire {backend.name}"
        )

    async def _end_when_idle(self, backend: Backend, scope: trio.CancelScope, drain_seconds: float) -> None:
        with trio.move_on_after(drain_seconds):
            # Rare, and an Event would sit on every release.
            while backend.in_flight or backend.tokenizer.asking:  # noqa: ASYNC110
                await trio.sleep(0.05)
        scope.cancel(reason="withdrawn")
        self._retiring.discard(backend)

    async def wait_settled(self) -> None:
        """Until no backend is being asked any more how long a prompt was. For the end of a drain: it polls."""
        while any(backend.tokenizer.asking for backend in (*self.backends.values(), *self._retiring)):  # noqa: ASYNC110
            await trio.sleep(0.02)

    def withdraw_all(self, reason: str, code: Code) -> None:
        """End every exchange with any backend, retiring ones too."""
        for backend in (*self.backends.values(), *self._retiring):
            backend.withdraw(reason, code)

    # What routing reads

    def find(self, operation: Operation, model: str) -> ModelPool | None:
        """The pool of a model, or None when no backend that can do this has ever shown it."""
        return self._pools[operation].get(model)

    def candidates(self, model: str) -> Sequence[Backend]:
        """For the scheduler: `model` is a pool's key."""
        pool = self._by_key.get(model)
        if pool is None:
            return []
        now = self._poller.now
        for backend in pool.backends:
            if not backend.is_routable(now):
                return [each for each in pool.backends if each.is_routable(now)]
        return pool.backends  # nearly always all of them: no list to make

    def has_other(self, key: str, tried: frozenset[str]) -> bool:
        """Another backend than those tried may be asked now."""
        return any(backend.name not in tried for backend in self.candidates(key))

    @property
    def is_complete(self) -> bool:
        """Every backend has been heard of at least once, so an unknown model is really unknown."""
        return all(backend.is_known for backend in self.backends.values())

    def probe_all_soon(self) -> None:
        """A model is missing: perhaps it has just been loaded somewhere."""
        for backend in self.backends.values():
            backend.probe_soon()

    def models(self) -> list[Model]:
        """Every model, once, by name: whatever the dialect, all can be asked for."""
        pools = self._pools[Operation.CHAT]
        return [
            _merged(name, pool.backends) for name, pool in sorted(pools.items()) if not _is_short(name, pools, pool)
        ]

    def running(self, allowed: frozenset[str] | None) -> list[msgspec.Raw]:
        """The entries of /api/ps of all Ollama backends, each model once; only `allowed` ones, if not None."""
        entries: dict[str, msgspec.Raw] = {}
        for backend in self.backends.values():
            for model in backend.running:
                if allowed is None or model.name in allowed:
                    entries.setdefault(model.name, model.raw)
        return list(entries.values())

    def ollama_version(self) -> str:
        """The lowest version in use: what a client may rely on."""
        versions = [
            backend.version for backend in self.backends.values() if backend.kind == "ollama" and backend.version
        ]
        return min(versions, key=_version_key, default="")

    async def _sweep(self) -> None:
        """One task for all: a thousand that do so little would cost a tenth of a core."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now = trio.current_time()
            for number, backend in enumerate((*self.backends.values(), *self._retiring)):
                if number % _SWEPT_AT_ONCE == _SWEPT_AT_ONCE - 1:
                    await trio.lowlevel.checkpoint()
                backend.sweep(now)

    async def _keep_fresh(self) -> None:
        """The index of many backends. A bug in it leaves the former one, until there is news again."""
        while True:
            await self._is_stale.wait()
            self._is_stale = trio.Event()
            try:
                self._build()
            except Exception as exc:
                self._crashed("index of models", exc)
            await trio.sleep(_REBUILD_SECONDS)

    def _rebuild(self) -> None:
        """There is news; whoever waits may go on, if only because a backend is healthy again."""
        if len(self.backends) <= _FEW_BACKENDS:
            self._build()
        else:
            self._is_stale.set()
            self.changed()

    def _build(self) -> None:
        groups = {_CHATS: self._made("", Operation.CHAT, {})}
        for group, operations in _GROUPS.items():
            groups[group] = self._made(f"{group}:", next(iter(operations)), groups[_CHATS])
        self._pools = {operation: groups[_GROUP_OF[operation]] for operation in Operation}
        self._by_key = {pool.key: pool for pools in groups.values() for pool in pools.values()}
        # News come from tasks, between the poller's batches: by its old time a breaker that has rested is still open.
        self._poller.now = self._poller.clock()
        self.changed()

    def _made(self, prefix: str, operation: Operation, chats: Mapping[str, ModelPool]) -> dict[str, ModelPool]:
        """`llama3` and `llama3:latest` on the same backends are one queue, and so is a group that has all backends."""
        found: dict[str, list[Backend]] = {}
        for backend in self.backends.values():
            if can_serve(backend.kind, operation):
                for name in _public_names(backend):
                    found.setdefault(name, []).append(backend)
        made: dict[str, ModelPool] = {}
        for name in sorted(found):
            backends = tuple(found[name])
            same = chats.get(name)
            if same is None or same.backends != backends:
                same = ModelPool(f"{prefix}{name}", name, backends)
            made[name] = same
        for name, pool in made.items():
            full = made.get(f"{name}:latest")
            if full is not None and full.backends == pool.backends:
                pool.key = full.key
        return made


def _public_names(backend: Backend) -> Iterable[str]:
    """Ollama takes `name` for `name:latest`."""
    for name in backend.models:
        yield name
        if backend.kind == "ollama" and name.endswith(":latest") and (short := name[:-7]) not in backend.models:
            yield short


def _is_short(name: str, pools: dict[str, ModelPool], pool: ModelPool) -> bool:
    """A short name beside its full one: not listed, as Ollama does not list it."""
    return f"{name}:latest" in pools and not any(name in backend.models for backend in pool.backends)


def _merged(name: str, backends: Sequence[Backend]) -> Model:
    having = [backend for backend in backends if name in backend.models]
    info = having[0].models[name]
    lengths = [known.context_tokens for backend in having if (known := backend.models[name]).context_tokens]
    return Model(
        name=name,
        owned_by=having[0].kind,
        created=int(info.created_utc or 0),
        entry=info.raw if having[0].kind == "ollama" else None,
        context_length=min(lengths, default=None),
        backends=tuple(backend.name for backend in having),
    )


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("-")[0].split("."))


async def _wait_until_heard_of(backends: Collection[Backend], settings: Settings) -> None:
    """Until each has been probed once, well or not; the slow ones are not waited for."""
    with trio.move_on_after(settings.probe_deadline_seconds):
        while not all(backend.is_known or backend.last_probe_error for backend in backends):  # noqa: ASYNC110  rare
            await trio.sleep(0.02)


def _server(spec: BackendSpec) -> tuple[str, str, str | None]:
    """What makes it another server, or the same one under another account."""
    return spec.url, spec.kind, spec.api_key
