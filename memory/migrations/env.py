"""Alembic's entry: runs the migrations on the connection that `athanor.memory.schema` hands over."""

from alembic import context

from athanor.memory.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
