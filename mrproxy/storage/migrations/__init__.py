"""Shell. How the tables come about: Alembic's environment (`env.py`) and one revision per step (`versions/`).

A new revision: change `schema.py`, add a file to `versions/` whose `down_revision` is the newest before it, and run the
tests: they compare what the revisions build with what the schema says, on both databases. What a revision may do is
said in `schema.py`. There is no way down: a version that is one behind works on the newer tables.
Read next: `mrproxy/storage/migrate.py`, which runs them.
"""
