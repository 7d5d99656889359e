"""Shell. Loaded by Alembic, not imported: runs the revisions on the connection that `migrate.py` hands over.

That connection is in a transaction already, so DDL and the new revision's number become true together or not at all.
"""

from alembic import context

from mrproxy.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite knows hardly any ALTER TABLE
)
with context.begin_transaction():
    context.run_migrations()
