"""Pure. The vocabulary that all stages share: what was asked (`Request`), what it used (`Usage`), how it went.

The canonical deltas of the translating lane will live here too. Imports nothing but errors.
"""
