"""Shell. Who may do what: groups, users, their keys and sessions, invitations, requests for more.

Functions on a connection that is in a transaction; for `Database.transact` and `Database.read`. None of them commits.
1. What changes something takes its turn first (`../facts.py`): changes exclude each other, so that what a function
   looked at still holds when it writes, and no two of them wait for each other's rows.
2. Who has looked at version 3 and changes it names 3; somebody else's change in between raises Changed.
3. The caller writes the audit entry (`../audit.py`) in the same transaction.
4. Values come from everywhere: each is looked at here before it meets a database (`checks.py`). Statements are built of
   bound parameters only.
Read next: `values.py`, `errors.py`; then `users.py`, which shows the pattern.
"""
