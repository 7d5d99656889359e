"""Pure. Speech and images as vLLM-Omni serves them beside vLLM's own routes: noise, which the text alone decides.

Source: vllm-project/vllm-omni, vllm_omni/entrypoints/openai/protocol/{audio,images}.py, read 2026-11. Two deviations:
`mock_bytes` in the request says how large each result is, and images come with OpenAI's `usage`, at the end of the
document, where OpenAI has it.
"""

import base64
import hashlib
from typing import Annotated

import msgspec

from bench.backends.openai_json import count_prompt_tokens
from bench.backends.vllm_shapes import Json

_BYTES_PER_CHARACTER = 1000  # of speech, about: MP3 at 128 kbit/s, 15 characters a second
_IMAGE_BYTES = 4096
_IMAGE_TOKENS = 1056  # OpenAI's for 1024x1024 at medium quality
_TYPES = {"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "pcm": "audio/pcm"}
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 26)]


class SpeechRequest(msgspec.Struct):
    model: str
    input: str
    response_format: str | None = None
    mock_bytes: _Size | None = None


class ImageRequest(msgspec.Struct):
    model: str
    prompt: str
    n: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None
    size: str | None = None
    mock_bytes: _Size | None = None


def make_noise(text: str, size: int) -> bytes:
    """The same for the same text."""
    return hashlib.shake_128(text.encode()).digest(size)


def speak(wanted: SpeechRequest) -> tuple[bytes, str]:
    """The audio and its type."""
    size = _BYTES_PER_CHARACTER * len(wanted.input) if wanted.mock_bytes is None else wanted.mock_bytes
    return make_noise(wanted.input, size), _TYPES.get(wanted.response_format or "wav", "audio/wav")


def draw(wanted: ImageRequest, now_utc: int) -> Json:
    """The answer's document."""
    size = _IMAGE_BYTES if wanted.mock_bytes is None else wanted.mock_bytes
    count = wanted.n or 1
    images = [make_noise(f"{number} {wanted.prompt}", size) for number in range(count)]
    prompt_tokens = count_prompt_tokens(len(wanted.prompt))
    return {
        "created": now_utc,
        "data": [
            {"b64_json": base64.b64encode(image).decode(), "url": None, "revised_prompt": None} for image in images
        ],
        "output_format": "png",
        "size": wanted.size or "1024x1024",
        "usage": {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": prompt_tokens},
            "output_tokens": _IMAGE_TOKENS * count,
            "total_tokens": prompt_tokens + _IMAGE_TOKENS * count,
        },
    }
