"""Run by Alembic: apply the migrations on the connection that `resources.database.migrate` opened."""

from alembic import context

from resources.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
