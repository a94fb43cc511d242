from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from athanor.memory import _experiments, _leases, maintenance, schema
from athanor.memory.errors import LedgerUnreadable, NotFound, SchemaTooNew, SchemaTooOld
from athanor.memory.ledger import Ledger
from athanor.memory.resources import Consumable, Sample
from athanor.memory.tables import METADATA
from athanor.memory.verify import verify
from tests.memory.conftest import Maker

LATER = '''"""A later schema."""

import sqlalchemy as sa
from alembic import op

revision = "0999"
down_revision = "{present}"


def upgrade() -> None:
    op.add_column("campaign", sa.Column("colour", sa.Text(), nullable=True))
'''


def test_the_migrations_make_what_the_tables_say(ledger: Ledger) -> None:
    with ledger._reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: not (kind == "table" and name.startswith("recall"))}
        )
        assert compare_metadata(context, METADATA) == []


def test_the_list_of_revisions_is_alembic_s() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert tuple(reversed([revision.revision for revision in script.walk_revisions()])) == schema.REVISIONS


def stamp(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


def test_a_newer_ledger_is_refused_with_the_remedy(ledger: Ledger) -> None:
    stamp(ledger.path, "1999")
    assert maintenance.schema_status(ledger.url).state == "newer"
    for open_it in (lambda: Ledger.open(ledger.url), lambda: Ledger.create(ledger.url)):
        with pytest.raises(SchemaTooNew, match="pip install --upgrade athanor-lab"):
            open_it()
    with pytest.raises(SchemaTooNew):
        maintenance.upgrade(ledger.url)


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A release that has one more migration."""
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text((schema.MIGRATIONS / "env.py").read_text())
    for file in (schema.MIGRATIONS / "versions").glob("0*.py"):
        (versions / file.name).write_text(file.read_text())
    (versions / "0999_later.py").write_text(LATER.format(present=schema.current()))
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "0999"))
    yield


def test_an_older_ledger_is_told_to_upgrade_and_upgraded(
    ledger: Ledger, make: Maker, request: pytest.FixtureRequest
) -> None:
    make.full(ledger)
    rows = ledger.journal()
    ledger.close()
    present = schema.current()
    request.getfixturevalue("later")
    assert maintenance.schema_status(ledger.url) == maintenance.SchemaStatus(present, "0999", "older")
    with pytest.raises(SchemaTooOld, match="athanor ledger upgrade"):
        Ledger.open(ledger.url)
    done = maintenance.upgrade(ledger.url)
    assert (done.before, done.after) == (present, "0999")
    assert done.backup is not None and done.backup.name == f"ledger.db.{present}.bak"
    with Ledger.open(ledger.url) as upgraded:
        assert upgraded.journal() == rows
        assert verify(upgraded).is_clean
        upgraded.add_event(None, "after", {})
    assert maintenance.upgrade(ledger.url).backup is None
    with closing(sqlite3.connect(done.backup)) as saved:
        assert saved.execute("SELECT version_num FROM alembic_version").fetchone() == (present,)


def test_the_first_schema_is_brought_up_with_all_its_data(
    home: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(schema, "REVISIONS", ("0001",))
        then.setattr(_experiments, "conclude", lambda *_: None)  # that release knew no reservations
        then.setattr(_leases, "device_taken", lambda *_: None)
        with Ledger.create(home / "ledger.db") as old:
            make.full(old)
            rows = old.journal()
    with pytest.raises(SchemaTooOld, match="athanor ledger upgrade"):
        Ledger.open(home / "ledger.db")
    done = maintenance.upgrade(home / "ledger.db")
    assert (done.before, done.after) == ("0001", schema.current())
    with Ledger.open(home / "ledger.db") as upgraded:
        assert upgraded.journal() == rows
        assert verify(upgraded).is_clean
        assert upgraded.experiment("c1.1").state == "completed"
        upgraded.add_sample(Sample(id="s1", label="wafer 1"))
        upgraded.add_consumable(Consumable(id="ethanol", unit="mL", amount=5.0))
        assert upgraded.levels()[0].available == 5.0
        assert verify(upgraded).is_clean


def test_a_present_ledger_needs_nothing(ledger: Ledger) -> None:
    assert maintenance.schema_status(ledger.url).state == "current"
    assert maintenance.upgrade(ledger.url) == maintenance.Upgraded(schema.current(), schema.current(), None)


def test_what_is_no_ledger_is_not_upgraded(home: Path) -> None:
    (home / "empty.db").write_bytes(b"")
    assert maintenance.schema_status(home / "empty.db").state == "none"
    with pytest.raises(LedgerUnreadable):
        maintenance.upgrade(home / "empty.db")
    with pytest.raises(NotFound):
        maintenance.schema_status(home / "nothing.db")
