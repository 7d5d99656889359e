import base64
import struct

from bench.backends.openai_json import (
    count_input_tokens,
    count_prompt_tokens,
    embed_text,
    encode_vector,
    input_texts,
)


def test_embeddings_depend_on_text_and_seed_only():
    assert embed_text("a", 8, 1) == embed_text("a", 8, 1)
    assert embed_text("a", 8, 1) != embed_text("b", 8, 1)
    assert embed_text("a", 8, 1) != embed_text("a", 8, 2)
    assert len(embed_text("a", 8, 1)) == 8


def test_base64_vectors_are_little_endian_float32():
    vector = embed_text("a", 4, 1)
    packed = encode_vector(vector, "base64")
    assert list(struct.unpack("<4f", base64.b64decode(packed))) == vector
    assert encode_vector(vector, None) == vector


def test_inputs_may_be_text_texts_or_tokens():
    assert input_texts("a") == ["a"]
    assert input_texts(["a", "b"]) == ["a", "b"]
    assert input_texts([1, 2, 3]) == ["[1, 2, 3]"]


def test_a_prompt_has_at_least_one_token():
    assert count_prompt_tokens(0) == 1
    assert count_prompt_tokens(400) == 100


def test_token_ids_are_counted_and_text_is_estimated():
    assert count_input_tokens("abcdefgh") == 2
    assert count_input_tokens(["abcd", "abcd"]) == 2
    assert count_input_tokens([1, 2, 3]) == 3
    assert count_input_tokens([[1, 2], [3]]) == 3
