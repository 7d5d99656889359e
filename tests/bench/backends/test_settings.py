from bench.backends.settings import EngineSettings, prefill_seconds, step_seconds

SETTINGS = EngineSettings("vllm", ("m",), itl_seconds=0.02, prefill_seconds=0.1)


def test_steps_are_flat_up_to_the_knee_and_proportional_beyond():
    settings = EngineSettings("vllm", ("m",), itl_seconds=0.02, batch_knee=8)
    assert step_seconds(settings, 8) == 0.02
    assert step_seconds(settings, 16) == 0.04
    assert step_seconds(SETTINGS, 1000) == 0.02


def test_long_prompts_take_longer_when_asked_to():
    assert prefill_seconds(SETTINGS, 10_000) == 0.1
    settings = EngineSettings("vllm", ("m",), prefill_seconds=0.1, prefill_tokens_per_second=10_000)
    assert prefill_seconds(settings, 5_000) == 0.6
