"""Pure. The words in a key's scopes that let it ask models: ours and llmlb's.

Control has them and all others, with what they mean, in `control/permissions.py`; tests keep the two the same.
`admin` is none of them: a key that only administers spends nothing.
"""

INFERENCE_SCOPES = frozenset({"inference", "openai.inference", "api", "api:inference"})
