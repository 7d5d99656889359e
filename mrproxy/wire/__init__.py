"""Pure. HTTP/1.1 heads, chunked framing, SSE and NDJSON: bytes in, values out, no I/O.

Read `http1.py` (heads), then `chunked.py` (bodies), then `events.py` (what streams inside them).
"""
