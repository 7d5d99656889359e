"""Shell. The answer: backends, their connections, and the pump that moves their streams.

Read `backend.py` (one inference server), `pool.py` (its connections), `pump.py` (the hot path), `registry.py` (all).
"""
