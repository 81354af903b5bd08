"""The databases of a home, SQLite files or Postgres: what a backup copies, a check looks at, and pruning shrinks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from sigma_dagster.settings import Settings

#: Folder and name of each.
_DAGSTER_FILES = (("history", "runs"), ("schedules", "schedules"), ("event_log", "event_log"))


@dataclass(frozen=True)
class Store:
    """The domain's database, or Dagster's: SQLite files, or a Postgres database."""

    name: str
    files: Mapping[str, Path] = field(default_factory=dict)
    """SQLite's, by the name that each has in a backup."""
    url: sa.URL | None = None

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return "postgresql" if self.url else "sqlite"

    @property
    def present(self) -> dict[str, Path]:
        """The files that are there."""
        return {name: file for name, file in self.files.items() if file.is_file()}

    def __str__(self) -> str:
        if self.url is not None:
            return self.url.render_as_string()
        return str(next(iter(self.files.values())))


def stores(settings: Settings) -> tuple[Store, Store]:
    """Give the domain's database and Dagster's."""
    own, dagster = settings.database_url, settings.dagster_database_url
    is_file = own.get_backend_name() == "sqlite"
    folder = settings.dagster_home
    files = {f"{name}.db": folder / group / f"{name}.db" for group, name in _DAGSTER_FILES}
    return (
        Store("domain", files={"sigma.db": Path(own.database or "")}) if is_file else Store("domain", url=own),
        Store("dagster", url=dagster) if dagster else Store("dagster", files=files),
    )
