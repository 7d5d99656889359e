"""Pure. What callers speak: path → dialect and operation, a shallow decode, the usage in answers, errors in words.

Read `routes.py` (which path is what), `shallow.py` (requests), `usage.py` (answers), then `openai.py` and `ollama.py`
(errors and lists in each one's own shape).
"""
