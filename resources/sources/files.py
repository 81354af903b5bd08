"""The price source `files`: a folder of CSV or Parquet files, watched for changes.

Not here: how a file is laid out (`file_layouts`) and read (`file_tables`).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from resources.sources.base import PriceRow, SourceError, SourceSettingError, SourceUnavailableError, UnknownSymbolError
from resources.sources.file_layouts import PriceFileError
from resources.sources.options import SourceOptions

if TYPE_CHECKING:
    from resources.sources.file_tables import Table

_SUFFIXES = (".csv", ".txt", ".parquet")
_OPEN_TABLES = 16
_SEEN = "series that were stored"
_INDEX = "index"

#: Name, time of change and size of a file: what is looked at before its content.
_Mark = tuple[str, int, int]


@dataclass(frozen=True)
class _Index:
    """What the folder has."""

    marks: tuple[_Mark, ...]
    files: dict[str, str]  # symbol to file name
    latest: str  # ISO date; empty without a row


class FilesSource:
    """Prices from files of one's own; a file is read when a symbol of it is asked for, and again when it changed."""

    name = "files"
    title = "the folder of price files"

    def __init__(self, options: SourceOptions) -> None:
        folder = options.price_files
        if folder is None:
            raise SourceSettingError(self.name, "set SIGMA_PRICE_FILES to the folder that has them")
        if not folder.is_dir():
            raise SourceSettingError(self.name, f"SIGMA_PRICE_FILES={folder} is not a folder")
        self.calls = 0
        self._folder = folder
        self._options = options
        self._tables: dict[_Mark, Table] = {}
        self._known: _Index | None = None

    @property
    def coverage(self) -> str:
        """How many symbols, and the first of them."""
        symbols = self.symbols()
        return f"{len(symbols)} symbols: {', '.join(symbols[:2])}, ..."

    def fetch(self, symbol: str, first: date, last: date) -> list[PriceRow]:
        """Rows of `symbol` from `first` to `last`, ascending, as its file has them.

        Raises:
            UnknownSymbolError: no file has it.
            PriceFileError: its file has something wrong; file, line and column are named.
            SourceUnavailableError: the folder cannot be used.
        """
        self.calls += 1
        return self._rows(symbol, first, last)

    def latest_session(self) -> date | None:
        """The last date in any file; None in an empty folder."""
        latest = self._index().latest
        return date.fromisoformat(latest) if latest else None

    def symbols(self) -> Sequence[str]:
        """All symbols of all files."""
        return sorted(self._index().files)

    # --- changes

    def changed(self, symbols: Sequence[str]) -> list[str]:
        """Those of the symbols whose series is another than when `stored` was last told of it."""
        seen, now = self._seen, _digest(self._marks())
        if seen.get("") == now:  # no file has another time or size
            return []
        others = [symbol for symbol in symbols if symbol in seen and seen[symbol] != self._version(symbol)]
        if not others:
            self._note_seen({"": now})
        return others

    def stored(self, symbols: Sequence[str]) -> None:
        """Take note that the series of these symbols are stored as they are now."""
        self._note_seen({symbol: self._version(symbol) for symbol in symbols})

    @property
    def _seen(self) -> dict[str, str]:
        noted = self._options.meter.note(self.name, _SEEN) if self._options.meter else None
        return dict(json.loads(noted)) if noted else {}

    def _note_seen(self, versions: dict[str, str]) -> None:
        if self._options.meter:
            self._options.meter.set_note(self.name, _SEEN, json.dumps(self._seen | versions))

    def _version(self, symbol: str) -> str:
        """A mark of a symbol's numbers, whatever file they stand in; of none, or of a broken one, a mark too."""
        try:
            return _digest(self._rows(symbol, date.min, date.max))
        except (UnknownSymbolError, SourceError) as error:
            return _digest(str(error))

    # --- the folder

    def _rows(self, symbol: str, first: date, last: date) -> list[PriceRow]:
        name = self._index().files.get(symbol)
        if name is None:
            raise UnknownSymbolError(symbol, self.name)
        return self._table(name).rows(symbol, first, last)

    def _marks(self) -> tuple[_Mark, ...]:
        try:
            entries = [path for path in self._folder.iterdir() if path.suffix.lower() in _SUFFIXES]
            stats = [(path, path.stat()) for path in entries if not path.name.startswith(".")]
        except OSError as error:
            raise SourceUnavailableError(f"SIGMA_PRICE_FILES={self._folder}: {error.strerror}") from None
        return tuple(sorted((path.name, stat.st_mtime_ns, stat.st_size) for path, stat in stats))

    def _index(self) -> _Index:
        marks = self._marks()
        if self._known is None or self._known.marks != marks:
            self._known = self._noted_index(marks) or self._read_index(marks)
        return self._known

    def _noted_index(self, marks: tuple[_Mark, ...]) -> _Index | None:
        """What another process found in the same files."""
        noted = self._options.meter.note(str(self._folder), _INDEX) if self._options.meter else None
        fields = json.loads(noted) if noted else {}
        return _Index(marks, fields["files"], fields["latest"]) if fields.get("marks") == _digest(marks) else None

    def _read_index(self, marks: tuple[_Mark, ...]) -> _Index:
        files: dict[str, str] = {}
        latest = ""
        for name, _, _ in marks:
            symbols, last = self._survey(name)
            latest = max(latest, last.isoformat() if last else "")
            for symbol in symbols:
                if symbol in files:
                    raise SourceUnavailableError(
                        f"SIGMA_PRICE_FILES={self._folder}: {symbol} stands in {files[symbol]} and in {name}; "
                        "a symbol's prices come from one file"
                    )
                files[symbol] = name
        if self._options.meter:
            text = json.dumps({"marks": _digest(marks), "files": files, "latest": latest})
            self._options.meter.set_note(str(self._folder), _INDEX, text)
        return _Index(marks, files, latest)

    def _survey(self, name: str) -> tuple[list[str], date | None]:
        from resources.sources.file_tables import survey

        try:
            return survey(self._folder / name)
        except PriceFileError as error:
            raise SourceUnavailableError(f"SIGMA_PRICE_FILES={self._folder}: {error}") from None

    def _table(self, name: str) -> "Table":
        from resources.sources.file_tables import Table

        stat = (self._folder / name).stat()
        mark = (name, stat.st_mtime_ns, stat.st_size)
        if mark not in self._tables:
            self._tables = {other: table for other, table in self._tables.items() if other[0] != name}
            if len(self._tables) == _OPEN_TABLES:
                del self._tables[next(iter(self._tables))]
            self._tables[mark] = Table(self._folder / name, self._scratch)
        return self._tables[mark]

    @cached_property
    def _scratch(self) -> Path | None:
        """A folder for the numbers of large files; the system's own without a cache."""
        if self._options.cache:
            self._options.cache.mkdir(parents=True, exist_ok=True)
        return self._options.cache


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
