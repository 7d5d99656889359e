"""Shell. The database of the control plane: users, keys and records that must last. No request ever waits for it.

`bridge.py` is the way from trio to asyncio, `database.py` one transaction, `schema.py` the tables, `migrate.py` how
they come about, `backup.py` copies for bad days, `failures.py` everything that can go wrong with a database.
Read next: `database.py`.
"""
