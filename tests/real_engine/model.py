"""Writes a tiny random llama model as a GGUF file: valid for llama.cpp, meaningless, the same at every run.

Runs in the engine's virtual environment (`gguf`, `numpy`), as `python model.py PATH`.

The first component of the residual stream is a constant: every embedding has it and no layer writes to it. The
output matrix uses it to push control tokens and raw bytes far below every word. So the model never stops by
itself and never says half a UTF-8 character: an answer has exactly `max_tokens` tokens, all of them words.
"""

import itertools
import sys

import gguf
import numpy as np

SEED = 20240229
EMBEDDING, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 128, 4, 4, 256, 16384
CONSTANT, AVOID = 12.0, -6.0
CHAT_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }} {% endfor %}assistant:"


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """SentencePiece with byte fallback: three controls, 256 bytes, then words that begin with a space."""
    tokens = [b"<unk>", b"<s>", b"</s>"]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    tokens += [f"<0x{byte:02X}>".encode() for byte in range(256)]
    types += [gguf.TokenType.BYTE] * 256
    words = ["\u2581"] + [f"\u2581{a}{b}" for a, b in itertools.product("bdfgklmnprstvz", "aeiou")]
    tokens += [word.encode() for word in words]
    types += [gguf.TokenType.NORMAL] * len(words)
    # SentencePiece merges what scores highest first: the order of the vocabulary is the order of merging.
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(words))]
    return tokens, scores, [int(kind) for kind in types]


def add_metadata(writer: gguf.GGUFWriter) -> int:
    """Hyperparameters and tokenizer; returns the size of the vocabulary."""
    tokens, scores, types = vocabulary()
    writer.add_name("tiny-random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def add_tensors(writer: gguf.GGUFWriter, vocabulary_size: int) -> None:
    """Gaussian weights; rows are outputs, as llama.cpp expects them."""
    random = np.random.default_rng(SEED)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    embedding = matrix(vocabulary_size, EMBEDDING) * np.float32(4.0)
    embedding[:, 0] = CONSTANT
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(EMBEDDING, np.float32))
    output = matrix(vocabulary_size, EMBEDDING) * np.float32(0.7)
    output[:, 0] = 0.0
    output[:259, 0] = AVOID
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        for name, rows, columns in (
            ("attn_q", EMBEDDING, EMBEDDING),
            ("attn_k", EMBEDDING, EMBEDDING),
            ("attn_v", EMBEDDING, EMBEDDING),
            ("attn_output", EMBEDDING, EMBEDDING),
            ("ffn_gate", FEED_FORWARD, EMBEDDING),
            ("ffn_up", FEED_FORWARD, EMBEDDING),
            ("ffn_down", EMBEDDING, FEED_FORWARD),
        ):
            weights = matrix(rows, columns)
            if name in {"attn_output", "ffn_down"}:
                weights[0, :] = 0.0
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(EMBEDDING, np.float32))


def write_model(path: str) -> None:
    """One file, about 3 MB."""
    writer = gguf.GGUFWriter(path, "llama")
    add_tensors(writer, add_metadata(writer))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write_model(sys.argv[1])
