"""Answers of Ollama servers, as documented and as their code writes them; shortened in their texts only.

Sources: ollama docs/api.md, docs/api/errors.mdx and server/routes.go of v0.17.4 (February 2026); the answer with calls
of the index 0 is what v0.5 to v0.12 sent (api/types.go of then: ToolCallFunction without id)."""

CHAT_STREAM = (
    b'{"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00","message":{"role":"assistant",'
    b'"content":"The","images":null},"done":false}\n'
    b'{"model":"llama3.2","created_at":"2023-08-04T08:52:19.5-07:00","message":{"role":"assistant",'
    b'"content":" sk\xc3\xbd \xf0\x9f\x8c\x8d"},"done":false}\n'
    b'{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","message":{"role":"assistant","content":""},'
    b'"done":true,"done_reason":"stop","total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,'
    b'"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}\n'
)
# The last object of docs/api.md has no message.
CHAT_STREAM_WITHOUT_LAST_MESSAGE = (
    b'{"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00","message":{"role":"assistant",'
    b'"content":"The"},"done":false}\n'
    b'{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","done":true,"total_duration":8113331500,'
    b'"load_duration":6396458,"prompt_eval_count":61,"prompt_eval_duration":398801000,"eval_count":468,'
    b'"eval_duration":7701267000}\n'
)
CHAT_DOCUMENT_WITH_CALL = (
    b'{"model":"llama3.2","created_at":"2024-07-22T20:33:28.123648Z","message":{"role":"assistant","content":"",'
    b'"tool_calls":[{"function":{"name":"get_current_weather","arguments":{"format":"celsius",'
    b'"location":"Paris, FR"}}}]},"done_reason":"stop","done":true,"total_duration":885095291,'
    b'"load_duration":3753500,"prompt_eval_count":122,"prompt_eval_duration":328493000,"eval_count":33,'
    b'"eval_duration":552222000}'
)
CHAT_STREAM_WITH_CALLS = (
    b'{"model":"qwen3","created_at":"2026-02-27T02:14:29Z","message":{"role":"assistant","content":"",'
    b'"thinking":"Both at once."},"done":false}\n'
    b'{"model":"qwen3","created_at":"2026-02-27T02:14:29Z","message":{"role":"assistant","content":"Let me see."},'
    b'"done":false}\n'
    b'{"model":"qwen3","created_at":"2026-02-27T02:14:30Z","message":{"role":"assistant","content":"","tool_calls":['
    b'{"id":"call_4jq2zgbe","function":{"index":0,"name":"weather","arguments":{"city":"Bern"}}}]},"done":false}\n'
    b'{"model":"qwen3","created_at":"2026-02-27T02:14:30Z","message":{"role":"assistant","content":"","tool_calls":['
    b'{"id":"call_x8lfy01m","function":{"index":1,"name":"weather","arguments":{"city":"Chur"}}}]},"done":false}\n'
    b'{"model":"qwen3","created_at":"2026-02-27T02:14:30Z","message":{"role":"assistant","content":""},"done":true,'
    b'"done_reason":"stop","prompt_eval_count":9,"eval_count":30}\n'
)
CHAT_STREAM_WITH_INDEX_0 = (
    b'{"model":"m","created_at":"2025-05-01T00:00:00Z","message":{"role":"assistant","content":"","tool_calls":['
    b'{"function":{"index":0,"name":"a","arguments":{}}}]},"done":false}\n'
    b'{"model":"m","created_at":"2025-05-01T00:00:00Z","message":{"role":"assistant","content":"","tool_calls":['
    b'{"function":{"index":0,"name":"b","arguments":{"x":[1, 2]}}}]},"done":false}\n'
    b'{"model":"m","created_at":"2025-05-01T00:00:00Z","message":{"role":"assistant","content":""},'
    b'"done_reason":"stop","done":true}\n'
)
CHAT_STREAM_WITH_LOGPROBS = (
    b'{"model":"m","created_at":"2026-02-27T02:14:29Z","message":{"role":"assistant","content":"Hi"},"done":false,'
    b'"logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[{"token":"Hi","logprob":-0.5,'
    b'"bytes":[72,105]},{"token":"Yo","logprob":-1.25,"bytes":[89,111]}]}]}\n'
    b'{"model":"m","created_at":"2026-02-27T02:14:29Z","message":{"role":"assistant","content":""},"done":true,'
    b'"done_reason":"length","eval_count":1}\n'
)
LOADED = (
    b'{"model":"llama3.2","created_at":"2024-09-12T21:17:29.110811Z","message":{"role":"assistant","content":""},'
    b'"done_reason":"load","done":true}'
)
UNLOADED = LOADED.replace(b'"load"', b'"unload"')
GENERATE_STREAM = (
    b'{"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00","response":"","thinking":"Hm.",'
    b'"done":false}\n'
    b'{"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00","response":"The","done":false}\n'
    b'{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","response":"","done":true,"done_reason":"stop",'
    b'"context":[1, 2, 3],"total_duration":10706818083,"load_duration":6338219291,"prompt_eval_count":26,'
    b'"prompt_eval_duration":130079000,"eval_count":259,"eval_duration":4232710000}\n'
)
GENERATE_DOCUMENT = (
    b'{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","response":"The sky is blue.","done":true,'
    b'"context":[1, 2, 3],"total_duration":5043500667,"load_duration":5025959,"prompt_eval_count":26,'
    b'"prompt_eval_duration":325953000,"eval_count":290,"eval_duration":4709213000}'
)
FAILED_STREAM = (
    b'{"model":"gemma3","created_at":"2025-10-26T17:21:21.196249Z","response":" Yes","done":false}\n'
    b'{"error":"an error was encountered while running the model"}\n'
)
STREAMS = [
    CHAT_STREAM,
    CHAT_STREAM_WITHOUT_LAST_MESSAGE,
    CHAT_STREAM_WITH_CALLS,
    CHAT_STREAM_WITH_INDEX_0,
    CHAT_STREAM_WITH_LOGPROBS,
    GENERATE_STREAM,
    FAILED_STREAM,
    LOADED,
]
EMBEDDED = (
    b'{"model":"all-minilm","embeddings":[[0.010071029,-0.0017594862],[-0.0098027075,0.06042469]],'
    b'"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":8}'
)
