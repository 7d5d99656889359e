"""Shell. `bench mock vllm|llamacpp|ollama|anthropic`: one mock engine in this process."""

from typing import Any

import click

from bench.backends.build import serve_mock
from bench.backends.faults import KINDS, parse_rule_text
from bench.backends.settings import NATIVE_DIALECTS, REASONING_FIELDS, TOOL_STYLES, EngineSettings

DEFAULT_MODELS = {
    "vllm": ("mock-8b",),
    "llamacpp": ("mock-8b",),
    "ollama": ("llama3.2:latest", "qwen3:8b"),
    "anthropic": ("claude-mock-4-5", "claude-mock-haiku"),
}
DEFAULT_PORTS = {"vllm": 9001, "ollama": 9002, "anthropic": 9003, "llamacpp": 9004}
# Ollama's own defaults: OLLAMA_NUM_PARALLEL and OLLAMA_MAX_QUEUE; vLLM has max_num_seqs 256 and no limit, llama.cpp's
# server four slots and a queue without one.
DEFAULT_SLOTS = {"vllm": 256, "llamacpp": 4, "ollama": 4, "anthropic": 1000}
DEFAULT_QUEUE_LIMITS = {"vllm": 0, "llamacpp": 0, "ollama": 512, "anthropic": 0}
DEFAULT_TOOL_STYLES = {"vllm": "fragments", "llamacpp": "fragments", "ollama": "index0", "anthropic": "fragments"}
FAULT_HELP = "A fault from the start: KIND[,probability=P][,count=N][,after_tokens=K]. Kinds: " + ", ".join(KINDS) + "."


def _parse_native(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in NATIVE_DIALECTS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(NATIVE_DIALECTS)}")
    return names


@click.command()
@click.argument("kind", type=click.Choice(["vllm", "llamacpp", "ollama", "anthropic"]))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, help="0: any free one. Default: 9001 for vllm, 9002, 9003, 9004 for the others.")
@click.option("--model", "models", multiple=True, help="Model to serve; repeatable.")
@click.option("--itl-ms", default=20.0, show_default=True, help="Time between two tokens of a request.")
@click.option("--prefill-ms", default=5.0, show_default=True, help="Time to the first token.")
@click.option(
    "--prefill-tokens-per-second", default=0.0, help="Adds prompt tokens / this to the first token; 0: nothing."
)
@click.option(
    "--max-num-seqs",
    type=int,
    help="Requests decoded at once. Default: 256 for vllm, 4 for llamacpp, 4 per model for ollama.",
)
@click.option("--queue-limit", type=int, help="Requests waiting before 503; 0: no limit. Default: 512 for ollama.")
@click.option("--pacing", type=click.Choice(["independent", "step"]), default="independent", show_default=True)
@click.option("--batch-knee", default=0, help="Beyond this batch, steps take longer in proportion; 0: never.")
@click.option("--answer-tokens", default=64, show_default=True, help="When the request names no maximum.")
@click.option(
    "--json-ms", type=float, help="Fixed time for answers that do not stream. Default: prefill + tokens × itl."
)
@click.option("--load-ms", default=0.0, help="ollama: time to load a model.")
@click.option("--keep-alive-s", default=300.0, show_default=True, help="ollama: until an idle model is unloaded.")
@click.option("--max-loaded-models", default=3, show_default=True, help="ollama: models in memory at once.")
@click.option("--num-ctx", default=4096, show_default=True, help="ollama: context length where a request names none.")
@click.option(
    "--tool-style",
    type=click.Choice(TOOL_STYLES),
    help="How calls are streamed on /v1/chat/completions. Default: fragments for vllm, index0 for ollama.",
)
@click.option("--reasoning-field", type=click.Choice(REASONING_FIELDS), default=REASONING_FIELDS[0], show_default=True)
@click.option(
    "--native",
    default="",
    callback=lambda _context, _option, text: _parse_native(text),
    help="vllm, ollama: other dialects to serve as well, with commas between: messages, responses.",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--fault", "faults", multiple=True, help=FAULT_HELP)
def mock(
    kind: str, host: str, port: int | None, models: tuple[str, ...], faults: tuple[str, ...], **options: Any
) -> None:
    """A mock inference engine, faithful on the wire; control routes under /_mock/."""
    settings = EngineSettings(
        kind=kind,
        models=models or DEFAULT_MODELS[kind],
        itl_seconds=options["itl_ms"] / 1000,
        prefill_seconds=options["prefill_ms"] / 1000,
        prefill_tokens_per_second=options["prefill_tokens_per_second"],
        max_num_seqs=int(options["max_num_seqs"] or DEFAULT_SLOTS[kind]),
        queue_limit=int(DEFAULT_QUEUE_LIMITS[kind] if options["queue_limit"] is None else options["queue_limit"]),
        pacing=str(options["pacing"]),
        batch_knee=int(options["batch_knee"]),
        answer_tokens=int(options["answer_tokens"]),
        json_seconds=None if options["json_ms"] is None else options["json_ms"] / 1000,
        load_seconds=options["load_ms"] / 1000,
        keep_alive_seconds=options["keep_alive_s"],
        max_loaded_models=int(options["max_loaded_models"]),
        num_ctx=int(options["num_ctx"]),
        tool_style=options["tool_style"] or DEFAULT_TOOL_STYLES[kind],
        reasoning_field=options["reasoning_field"],
        native=options["native"],
        seed=int(options["seed"]),
    )
    try:
        rules = [parse_rule_text(text) for text in faults]
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--fault") from exc

    def announce(bound: int) -> None:
        click.echo(f"mock {kind} listening on http://{host}:{bound} models={','.join(settings.models)}")

    serve_mock(settings, host, DEFAULT_PORTS[kind] if port is None else port, rules, announce)
