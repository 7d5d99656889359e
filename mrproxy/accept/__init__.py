"""Shell. Who is calling: the listener, a client's connection, and the heads that are known already.

Read `heads.py` (pure), then `client.py` (one connection), then `door.py` (all of them).
"""
