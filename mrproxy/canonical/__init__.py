"""Pure. The vocabulary that all stages share: what was asked (`Request`), what it used (`Usage`), how it went.

`conversation.py` and `deltas.py` are the vocabulary of the translating lane. Imports nothing but errors.
"""
