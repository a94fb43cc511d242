"""The ledger's schema: which version a file has, and how it gets the present one. Migrations are Alembic's."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from athanor.memory.dialects import writing
from athanor.memory.errors import LedgerUnreadable, SchemaTooNew, SchemaTooOld

# Every revision there has been, oldest first. A ledger at any other was written by a newer release.
REVISIONS = ("0001", "0002")
MIGRATIONS = Path(__file__).parent / "migrations"


def current() -> str:
    """Return the revision that this release uses."""
    return REVISIONS[-1]


def version_of(connection: Connection) -> str | None:
    """Return the schema revision of a ledger, None for an empty file."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def check(connection: Connection, name: str) -> None:
    """Return if the ledger has the present schema.

    Raises:
        SchemaTooNew, SchemaTooOld, LedgerUnreadable: it has not.
    """
    found = version_of(connection)
    if found == current():
        return
    if found is None:
        raise LedgerUnreadable(
            f"{name} is not a ledger: it has no schema; give the path of a ledger, or make a new one"
        )
    if found in REVISIONS:
        raise SchemaTooOld(
            f"{name} has schema {found}, this Athanor uses {current()}: run `athanor ledger upgrade` "
            "(it makes a backup first)"
        )
    raise SchemaTooNew(
        f"{name} has schema {found}, which this Athanor (up to {current()}) does not know: "
        "install a newer release, `pip install --upgrade athanor-lab`; nothing was changed"
    )


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Bring a ledger to the present schema in one transaction; return the revisions before and after.

    Raises:
        SchemaTooNew: a newer Athanor wrote it.
    """
    with writing(engine) as connection:
        return migrate_within(connection, str(engine.url.database))


def migrate_within(connection: Connection, name: str) -> tuple[str | None, str]:
    """Do what `migrate` does within a write transaction that is already open."""
    before = version_of(connection)
    if before == current():
        return before, current()
    if before is not None and before not in REVISIONS:
        check(connection, name)
    # Alembic is needed once in a ledger's life, and takes longer to import than a ledger to open.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, current())
    return before, current()
