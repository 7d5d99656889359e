"""What of a request is its prompt, in tokens."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.backends.prompt_tokens import (
    apply_template,
    count_prompts,
    count_text,
    count_values,
    template_variables,
)

MESSAGE = msgspec.Raw(b'{"role":"user","content":"Gr\xc3\xbc\xc3\x9fe"}')


def test_a_chat_is_its_messages_its_tools_and_what_the_template_is_told():
    assert apply_template([MESSAGE]) == b"<|im_start|>%b<|im_end|>\n<|im_start|>assistant\n" % bytes(MESSAGE)
    plain = apply_template([MESSAGE], add_generation_prompt=False)
    assert plain == b"<|im_start|>%b<|im_end|>\n" % bytes(MESSAGE)
    more = apply_template([MESSAGE], [{"name": "f"}], {"b": 1, "a": 2}, add_generation_prompt=False)
    assert more == b'<|im_start|>tools\n[{"name":"f"}]<|im_end|>\n' + plain + b'{"a":2,"b":1}'


def test_a_chats_own_fields_win_over_the_variables_it_names():
    assert template_variables(None, None) == {}
    assert template_variables({"reasoning_effort": "high", "x": 1}, "low") == {"reasoning_effort": "low", "x": 1}


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("a" * 40, 10), ("ü" * 20, 10), (["a" * 40, "b" * 8], 12), ([1, 2, 3], 3), ([[1, 2], [3]], 3), ([], 1), (5, 1)],
)
def test_prompts_are_texts_or_token_ids(prompt, tokens):
    assert count_prompts(msgspec.Raw(json.dumps(prompt).encode())) == tokens


def test_a_text_counts_by_its_bytes():
    assert count_text("ü" * 20) == count_text(("ü" * 20).encode()) == 10


@given(
    fields=st.dictionaries(st.sampled_from("abc"), st.text(max_size=20), max_size=3),
    spaces=st.sampled_from([None, 2]),
)
def test_how_the_json_around_it_is_spaced_does_not_count(fields, spaces):
    body = json.dumps({"tools": [fields]}, indent=spaces).encode()
    assert count_values(msgspec.json.decode(body)["tools"]) == count_values([fields])


def test_empty_fields_count_nothing():
    assert count_values("", None, [], {}) == count_values() == 1
    assert count_values("a" * 40, MESSAGE, [1, 2]) == (40 + len(bytes(MESSAGE)) + len("[1,2]")) // 4
