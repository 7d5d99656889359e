"""Pure. Every setting, once: name, type, default, unit, bounds and the reason for the default.

The TOML key, the environment variable (`MRPROXY_<NAME>`), the flag (`--name-with-dashes`), `mrproxy config show` and
docs/configuration.md all derive from these fields. A setting that is added here exists everywhere at once.

Limits carry precedents: what the programs that people already run do by default.
Read next: `tables.py` (backends, groups, users, keys), `load.py` (file < environment < flags).
"""

from dataclasses import Field, dataclass, field, fields
from typing import Any

from mrproxy.config.tables import Backend, Group, Key, Oidc, User

COOKIE_SECURE = ("auto", "always", "never")
SCHEDULERS = ("wdrr", "fifo")
PLACEMENTS = ("least_load", "latency", "metrics", "round_robin", "affinity")
LIMIT_MODES = ("enforce", "shadow")
LOG_LEVELS = ("debug", "info", "warning", "error")
PROMPT_COUNTS = ("estimate", "tokenizer", "always")

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class About:
    """What a setting's field says about itself."""

    section: str
    doc: str
    unit: str = ""
    precedent: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False
    restart: bool = False  # read once at start: SIGHUP does not change it


def setting(default: Any, about: About) -> Any:
    """A dataclass field with its description. `Any` because dataclasses.field types the same way."""
    return field(default=default, metadata={"about": about})


def seconds(
    section: str, default: float, doc: str, *, precedent: str = "", minimum: float = 0, restart: bool = False
) -> Any:
    return setting(default, About(section, doc, "seconds", precedent, minimum=minimum, restart=restart))


def count(
    section: str,
    default: int,
    doc: str,
    *,
    unit: str = "",
    precedent: str = "",
    minimum: int = 1,
    restart: bool = False,
) -> Any:
    return setting(default, About(section, doc, unit, precedent, minimum=minimum, restart=restart))


def percent(section: str, default: int, doc: str, *, precedent: str = "", restart: bool = False) -> Any:
    return setting(default, About(section, doc, "percent", precedent, minimum=0, maximum=100, restart=restart))


SERVER, DOOR, TURN, PLACE, TRY, LANE, PROBE, POOL, RECORD, STORE, WHO = (
    "Server",
    "Front door",
    "Scheduler",
    "Placement",
    "Deadlines and retries",
    "Translation",
    "Health",
    "Connections to backends",
    "Journal",
    "Database",
    "Identity",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """One frozen value; a reload makes a new one."""

    host: str = setting("127.0.0.1", About(SERVER, "Address to listen on (`0.0.0.0`, `::`, a name).", restart=True))
    port: int = setting(8000, About(SERVER, "TCP port; 0 takes a free one.", minimum=0, maximum=65535, restart=True))
    data_dir: str = setting(
        "./mrproxy-data", About(SERVER, "Directory of keys, snapshot, journal and sockets.", "path", restart=True)
    )
    tls_cert: str = setting(
        "", About(SERVER, "Certificate chain (PEM); empty serves plain HTTP.", "path", restart=True)
    )
    tls_key: str = setting("", About(SERVER, "Private key (PEM) of `tls_cert`.", "path", restart=True))
    log_level: str = setting("info", About(SERVER, "Least severe level that is logged.", choices=LOG_LEVELS))
    access_log: bool = setting(True, About(SERVER, "One log line per finished request.", restart=True))
    drain_seconds: float = seconds(
        SERVER, 30, "How long running requests may finish after SIGTERM.", precedent="Kubernetes' grace period is 30 s"
    )
    control_nice: int = setting(
        10,
        About(
            SERVER,
            "How far the control process gives way to the workers, where they share cores (`nice`, 0 to 19).",
            minimum=0,
            maximum=19,
            restart=True,
        ),
    )
    worker_realtime: bool = setting(
        False,
        About(
            SERVER,
            "Real-time priority (SCHED_RR) for the workers: no token waits for another process's turn on the core. "
            "Needs `CAP_SYS_NICE` or `LimitRTPRIO=1`; without, a warning. For machines with cores to spare.",
            restart=True,
        ),
    )
    listen_backlog: int = setting(
        2048,
        About(
            SERVER,
            "Connections the kernel holds until they are accepted.",
            precedent="nginx 511, HAProxy maxconn, Linux caps it at net.core.somaxconn (4096)",
            minimum=1,
            restart=True,
        ),
    )

    max_head_bytes: int = count(
        DOOR,
        32 * KIB,
        "Request line and headers together.",
        unit="bytes",
        precedent="nginx 4 × 8 KiB, Node 16 KiB, Envoy 60 KiB",
        minimum=1024,
    )
    max_headers: int = count(DOOR, 100, "Headers in one request.", precedent="Apache 100, Envoy 100")
    max_target_bytes: int = count(
        DOOR, 8 * KIB, "Request target.", unit="bytes", precedent="nginx and Apache 8 KiB; RFC 9112 §3 asks for 8,000"
    )
    max_body_bytes: int = count(
        DOOR,
        64 * MIB,
        "Request body; room for images in base64.",
        unit="bytes",
        precedent="nginx 1 MiB, vLLM no limit, OpenAI 50 MB of images",
    )
    head_deadline_seconds: float = seconds(
        DOOR,
        10,
        "From a request's first byte to the end of its head.",
        precedent="nginx 60 s; slow heads hold a connection",
    )
    body_idle_seconds: float = seconds(
        DOOR, 30, "Between two pieces of a request body.", precedent="nginx 60 s, gunicorn 30 s"
    )
    keep_alive_idle_seconds: float = seconds(
        DOOR, 75, "Between two requests on one connection.", precedent="nginx 75 s, AWS load balancers 60 s"
    )
    client_write_idle_seconds: float = seconds(
        DOOR, 60, "A client that takes no byte of its answer for so long is given up.", precedent="nginx 60 s"
    )
    client_send_buffer_bytes: int = count(
        DOOR,
        256 * KIB,
        "Kernel memory for what a client has not taken yet.",
        unit="bytes",
        precedent="Linux grows it to 4 MiB; HAProxy has tune.sndbuf.client",
        minimum=4096,
        restart=True,
    )
    max_connections: int = count(DOOR, 10_000, "Open client connections.", precedent="the C10K problem; ulimit applies")
    max_connections_per_address: int = count(
        DOOR, 4096, "Open client connections from one address.", precedent="generous: one NAT or proxy may be a campus"
    )
    cors_allow_origin: str = setting(
        "*", About(DOOR, "`Access-Control-Allow-Origin` of answers; empty sends none.", precedent="vLLM sends *")
    )

    limits: str = setting(
        "enforce",
        About(
            DOOR,
            "Of keys, users and groups: `enforce` refuses what is over one; `shadow` counts it, serves it and warns.",
            choices=LIMIT_MODES,
        ),
    )

    scheduler: str = setting(
        "wdrr", About(TURN, "Who is next: fair by weight, or first come.", choices=SCHEDULERS, restart=True)
    )
    quantum_tokens: int = count(
        TURN,
        100,
        "Tokens a flow of weight 1 may send per round. Small is fair sooner; rounds are computed, so it costs nothing.",
        unit="tokens",
        restart=True,
    )
    burst_cap_tokens: int = count(
        TURN, 20_000, "Most unused share that a flow can bank.", unit="tokens", minimum=0, restart=True
    )
    queue_max_jobs: int = count(TURN, 10_000, "Requests that may wait, in all; beyond: 503.", minimum=0)
    queue_max_jobs_per_flow: int = count(TURN, 512, "Requests of one caller that may wait; beyond: 429.", minimum=0)
    queue_deadline_seconds: float = seconds(TURN, 60, "Longest wait for a slot; beyond: 503.")
    waiting_comment_seconds: float = seconds(
        TURN, 0, "Interval of SSE comments while a stream waits; 0 is off.", precedent="WHATWG HTML §9.2.7 advises 15 s"
    )

    placement: str = setting(
        "least_load", About(PLACE, "Which backend serves a granted request.", choices=PLACEMENTS, restart=True)
    )

    connect_deadline_seconds: float = seconds(TRY, 2, "To connect to a backend.", precedent="Envoy 5 s, nginx 60 s")
    first_byte_deadline_seconds: float = seconds(
        TRY, 120, "From the request sent to the first byte of the answer.", precedent="nginx 60 s; prompts are long"
    )
    loading_deadline_seconds: float = seconds(
        TRY, 600, "The same while the backend loads the model.", precedent="Ollama gives a load 5 min by default"
    )
    stream_idle_deadline_seconds: float = seconds(
        TRY, 120, "Between two pieces of an answer.", precedent="nginx proxy_read_timeout 60 s"
    )
    total_deadline_seconds: float = seconds(
        TRY, 0, "For a whole request; 0 is off.", precedent="the OpenAI SDK waits 10 min; agents stream for longer"
    )
    ping_seconds: float = seconds(
        TRY,
        10,
        "A stream whose backend is silent for so long gets a sign of life (a comment, or Anthropic's ping), and again "
        "after each such time; before the first byte it sends the head, after which an error is an event. 0 is off.",
        precedent="proxies cut silence after 60 s (nginx, AWS) or 100 s (Cloudflare); Anthropic pings every 10 to 15 s",
    )
    max_attempts: int = count(
        TRY, 3, "Attempts per request, all before the client's first byte.", precedent="nginx: every upstream once"
    )
    retry_budget_percent: int = percent(
        TRY,
        20,
        "Retries allowed per request served.",
        precedent="Envoy's and Finagle's retry budgets: 20 %",
        restart=True,
    )

    probe_interval_seconds: float = seconds(
        PROBE, 5, "Between two probes of a healthy backend.", precedent="HAProxy 2 s, Kubernetes 10 s", minimum=0.01
    )
    probe_deadline_seconds: float = seconds(PROBE, 2, "For one probe.", precedent="Kubernetes 1 s", minimum=0.01)
    probe_retry_seconds: float = seconds(PROBE, 1, "Between two probes of an unhealthy backend.", minimum=0.01)
    breaker_failures: int = count(
        PROBE, 3, "Connect errors in a row that open the breaker.", precedent="HAProxy fall 3", restart=True
    )
    breaker_ratio_percent: int = percent(PROBE, 50, "Share of failed requests that opens the breaker.", restart=True)
    breaker_min_requests: int = count(PROBE, 10, "Requests in the window before the share counts.", restart=True)
    breaker_window_seconds: float = seconds(PROBE, 30, "The window of that share.", minimum=1, restart=True)
    breaker_open_seconds: float = seconds(
        PROBE, 5, "First time open; doubles with every failed trial.", minimum=0.01, restart=True
    )
    breaker_max_open_seconds: float = seconds(
        PROBE,
        60,
        "Longest time open.",
        precedent="Envoy ejects for 30 s × n, at most 300 s",
        minimum=0.01,
        restart=True,
    )

    num_ctx_fixed: bool = setting(
        True,
        About(
            LANE,
            "A backend's `num_ctx` overrides the caller's; otherwise it is for callers that set none. "
            "A model whose context length changes from request to request is loaded anew each time.",
        ),
    )
    image_max_bytes: int = count(
        LANE,
        20 * MIB,
        "Largest image fetched for an engine that needs bytes.",
        unit="bytes",
        precedent="OpenAI 20 MB, Anthropic 5 MB",
        restart=True,
    )
    image_deadline_seconds: float = seconds(
        LANE, 10, "To fetch all images of a request.", precedent="vLLM 5 s", restart=True
    )
    image_allow_networks: str = setting(
        "",
        About(
            LANE,
            "Networks (CIDR, comma-separated) from which images are fetched although they are not public.",
            restart=True,
        ),
    )
    response_max_count: int = count(LANE, 10_000, "Responses (`/v1/responses`) that are stored.", restart=True)
    response_max_bytes: int = count(
        LANE, 256 * MIB, "Memory for stored responses.", unit="bytes", minimum=MIB, restart=True
    )
    response_keep_seconds: float = seconds(
        LANE,
        30 * 24 * 3600,
        "How long a response is stored: in the database, or in memory as long as there is room.",
        precedent="OpenAI",
        restart=True,
    )

    default_max_concurrent: int = count(
        POOL,
        64,
        "Slots of a backend that names none.",
        precedent="vLLM's max_num_seqs is 256, and it may have other callers",
    )
    default_max_concurrent_ollama: int = count(
        POOL, 4, "The same for kind `ollama`.", precedent="Ollama's own OLLAMA_NUM_PARALLEL is 1 to 4"
    )
    pool_max_idle: int = count(POOL, 256, "Idle connections kept per backend.", minimum=0)
    pool_idle_seconds: float = seconds(
        POOL, 60, "How long a connection is kept idle.", precedent="nginx upstream keepalive_timeout 60 s"
    )
    discover: bool = setting(True, About(POOL, "Look for engines on this machine when no backend is configured."))

    journal_segment_bytes: int = count(
        RECORD, 64 * MIB, "Size at which a journal segment is closed.", unit="bytes", minimum=4096, restart=True
    )
    aborted_prompts: str = setting(
        "tokenizer",
        About(
            RECORD,
            "How the prompt of a stream is counted that broke off before the engine said how long it was: by an "
            "`estimate`; by asking the engine's `tokenizer`, for 2 s at most, where it has one (Ollama has none); or "
            "`always`, which without one sends the request again for one token.",
            choices=PROMPT_COUNTS,
        ),
    )
    capture_bodies: bool = setting(False, About(RECORD, "Keep prompts and answers next to the journal."))
    capture_max_bytes: int = count(RECORD, 64 * KIB, "Most that is kept of one body.", unit="bytes", minimum=0)

    log_keep_bytes: int = count(
        RECORD,
        8 * MIB,
        "Events of the log that are kept in `data_dir/logs`, per process, to be asked for; 0 keeps none.",
        unit="bytes",
        minimum=0,
        restart=True,
    )
    otlp_endpoint: str = setting(
        "",
        About(
            RECORD,
            "OpenTelemetry collector for spans, `http://HOST:4318/v1/traces`; empty sends none. Needs the extra "
            "`otel`; keys for it belong into `OTEL_EXPORTER_OTLP_HEADERS`.",
            restart=True,
        ),
    )
    otlp_sample_percent: float = setting(
        100.0,
        About(
            RECORD,
            "Share of requests that get spans, of those whose caller has not decided it.",
            "percent",
            minimum=0,
            maximum=100,
            restart=True,
        ),
    )

    database_url: str = setting(
        "",
        About(
            STORE,
            "Database of the control plane, `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`; "
            "empty is SQLite in `data_dir/mrproxy.db`.",
            secret=True,
            restart=True,
        ),
    )
    records: bool = setting(
        True,
        About(
            STORE,
            "Take the journal's records over into the database. Without it the journal alone has them, and keeps them; "
            "it costs the control process about 15 µs a request.",
            restart=True,
        ),
    )
    journal_keep_seconds: float = seconds(
        STORE,
        7 * 24 * 3600,
        "How long a segment of the journal is kept that the database has taken over.",
        precedent="Kafka keeps logs for 7 days",
        restart=True,
    )
    records_keep_days: float = setting(
        0.0,
        About(STORE, "How long the database keeps a request's record; 0 is for ever.", "days", minimum=0, restart=True),
    )
    bodies_keep_days: float = setting(
        7.0,
        About(
            STORE,
            "How long prompts and answers are kept where they are captured, in the database and on their way there; "
            "0 is for ever.",
            "days",
            precedent="what is captured for debugging is of no use for longer, and it is people's",
            minimum=0,
            restart=True,
        ),
    )
    usage_keep_days: float = setting(
        0.0,
        About(
            STORE,
            "How long the sums of usage by day are kept; 0 is for ever.",
            "days",
            precedent="a day of 1,000 users is some thousand short rows",
            minimum=0,
            restart=True,
        ),
    )

    bootstrap_api_key: str = setting(
        "",
        About(
            WHO,
            "A key of group `admin` that is valid from the start, for scripts and containers: for inference, and for "
            "administering from anywhere.",
            secret=True,
        ),
    )

    admin_name: str = setting(
        "admin", About(WHO, "Name of the first administrator, who is made where a database has none.", restart=True)
    )
    admin_password: str = setting(
        "",
        About(
            WHO,
            "The first administrator's password; empty makes one, which is in `data_dir/first-admin-password` and must "
            "be changed at the first sign-in. Where there is an administrator it has no effect.",
            secret=True,
            restart=True,
        ),
    )
    public_url: str = setting(
        "",
        About(
            WHO,
            "Where browsers find the gateway, such as `https://llm.example.edu`; providers of `[[oidc]]` send them "
            "back there. Empty: wherever the browser says it is.",
            restart=True,
        ),
    )
    trusted_proxies: str = setting(
        "",
        About(
            WHO,
            "Addresses or networks (`10.0.0.0/8`, several separated by commas) of proxies before the gateway whose "
            "`X-Forwarded-For` and `X-Forwarded-Proto` are believed: by sign-in, administration, keys bound to "
            "addresses, and the journal.",
            precedent="nginx set_real_ip_from",
            restart=True,
        ),
    )
    cookie_secure: str = setting(
        "auto",
        About(
            WHO,
            "Whether the session's cookie is for HTTPS alone: `auto` when the request came that way, here or at a "
            "trusted proxy.",
            choices=COOKIE_SECURE,
            restart=True,
        ),
    )
    session_seconds: float = seconds(
        WHO,
        7 * 24 * 3600,
        "How long a browser stays signed in at most.",
        precedent="MindRouter 7 days",
        minimum=60,
        restart=True,
    )
    session_idle_seconds: float = seconds(
        WHO, 12 * 3600, "How long a browser stays signed in that asks for nothing.", minimum=60, restart=True
    )

    backends: tuple[Backend, ...] = ()
    groups: dict[str, Group] = field(default_factory=dict)
    users: tuple[User, ...] = ()
    keys: tuple[Key, ...] = ()
    oidc: tuple[Oidc, ...] = ()


TABLES = ("backends", "groups", "users", "keys", "oidc")


def about(setting_field: Field[Any]) -> About:
    described: About = setting_field.metadata["about"]
    return described


def scalar_fields() -> tuple[Field[Any], ...]:
    """The settings that are one value each, in the order of the documentation: all but the tables."""
    return tuple(each for each in fields(Settings) if each.name not in TABLES)


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    return "MRPROXY_" + name.upper()
