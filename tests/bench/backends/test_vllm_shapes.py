import json

from bench.backends.vllm_shapes import chat_shape, model_card, sse_event, text_shape, token_template, usage_of


def test_chunks_share_id_object_created_and_model():
    for shape, kind in (
        (chat_shape("x", "m", 5), "chat.completion.chunk"),
        (text_shape("x", "m", 5), "text_completion"),
    ):
        for value in (shape.token, shape.finish("stop"), shape.usage_chunk, *shape.opening):
            assert (value["id"], value["object"], value["created"], value["model"]) == (shape.id, kind, 5, "m")


def test_a_whole_chat_is_a_completion_with_usage():
    value = chat_shape("x", "m", 5).whole("text", "stop", usage_of(3, 4))
    assert value["object"] == "chat.completion"
    assert value["choices"][0]["message"]["content"] == "text"
    assert value["usage"]["total_tokens"] == 7


def test_a_template_has_one_place_for_the_stamp():
    template = token_template(text_shape("x", "m", 5).token)
    assert template.count(b"%") == 1
    assert json.loads((template % 3)[6:])["choices"][0]["text"] == "t0000000000000000003 "


def test_cards_and_events():
    assert model_card("m", 10, 5)["max_model_len"] == 10
    assert sse_event({"a": 1}) == b'data: {"a":1}\n\n'
