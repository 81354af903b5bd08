"""The price source `files`: a folder of CSV or Parquet files, watched for changes.

Not here: how a file is laid out (`file_layouts`) and read (`file_tables`).
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resources.sources.base import PriceRow, SourceError, SourceSettingError, SourceUnavailableError, UnknownSymbolError
from resources.sources.file_layouts import PriceFileError
from resources.sources.options import SourceOptions

if TYPE_CHECKING:
    from resources.sources.file_tables import Series, Table

_SUFFIXES = (".csv", ".txt", ".parquet")
_OPEN_TABLES = 16
_SEEN = "series that were stored"
_INDEX = "index"

#: Name, times of change and size of a file: what is looked at before its content. A copy that keeps the time of its
#: original (`cp -p`, `rsync -t`) still has a later time of its inode.
_Mark = tuple[str, int, int, int]


class _Version(NamedTuple):
    """A mark of a symbol's numbers over some days; of none, or of a broken file, a mark too."""

    first: date
    last: date
    digest: str
    folder: str  # a mark of the files in which they were last found so


@dataclass(frozen=True)
class _Index:
    """What the folder has."""

    marks: tuple[_Mark, ...]
    files: dict[str, str]  # symbol to file name
    latest: str  # ISO date; empty without a row

    @cached_property
    def digest(self) -> str:
        """A mark of all files."""
        return _digest(self.marks)


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
        self._fetched: dict[str, _Version] = {}  # not stored yet
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
        self._fetched.pop(symbol, None)
        index = self._index_of(symbol)
        series = self._series(symbol, first, last, index)
        self._fetched[symbol] = _Version(first, last, series.digest(), index.digest)
        return series.rows()

    def latest_session(self) -> date | None:
        """The last date in any file; None in an empty folder."""
        latest = self._index().latest
        return date.fromisoformat(latest) if latest else None

    def symbols(self) -> Sequence[str]:
        """All symbols of all files."""
        return sorted(self._index().files)

    # --- changes

    def changed(self, symbols: Sequence[str]) -> list[str]:
        """Those of the symbols of which something that is stored is another number now; a new session is no change."""
        folder, seen = _digest(self._marks()), self._seen
        due = [symbol for symbol in symbols if symbol in seen and seen[symbol].folder != folder]
        others = [symbol for symbol in due if self._has_changed(symbol, seen[symbol])]
        self._note_seen({symbol: seen[symbol]._replace(folder=folder) for symbol in due if symbol not in others})
        return others

    def stored(self, symbols: Sequence[str]) -> None:
        """Take note that what was fetched of these symbols is stored; without a fetch, all there is of them."""
        seen, noted = self._seen, dict[str, _Version]()
        for symbol in symbols:
            new = self._fetched.pop(symbol, None) or self._version(symbol, date.min, date.max)
            old = seen.get(symbol, new)
            if new.first > old.first or new.last < old.last:
                if self._has_changed(symbol, old):
                    continue  # a part was fetched, and another one has changed: still to be asked for
                new = self._version(symbol, min(old.first, new.first), max(old.last, new.last))
            noted[symbol] = new
        self._note_seen(noted)

    @property
    def _seen(self) -> dict[str, _Version]:
        noted = self._options.meter.note(self.name, _SEEN) if self._options.meter else None
        versions = json.loads(noted) if noted else {}
        return {
            symbol: _Version(date.fromisoformat(first), date.fromisoformat(last), *marks)
            for symbol, (first, last, *marks) in versions.items()
        }

    def _note_seen(self, versions: Mapping[str, _Version]) -> None:
        if self._options.meter and versions:
            known = self._seen | dict(versions)
            text = json.dumps({symbol: [f"{one.first}", f"{one.last}", *one[2:]] for symbol, one in known.items()})
            self._options.meter.set_note(self.name, _SEEN, text)

    def _has_changed(self, symbol: str, seen: _Version) -> bool:
        return self._version(symbol, seen.first, seen.last).digest != seen.digest

    def _version(self, symbol: str, first: date, last: date) -> _Version:
        try:
            index = self._index_of(symbol)
        except SourceError as error:
            return _Version(first, last, _digest(str(error)), _digest(self._marks()))
        try:
            digest = self._series(symbol, first, last, index).digest()
        except (UnknownSymbolError, SourceError) as error:
            digest = _digest(str(error))
        return _Version(first, last, digest, index.digest)

    # --- the folder

    def _index_of(self, symbol: str) -> _Index:
        """What the folder has, looked at anew unless the file of the symbol is the one that is known.

        A folder of one file for each symbol is thus listed once, not with each of them.
        """
        known = self._known
        name = known.files.get(symbol) if known else None
        if known and name:
            with suppress(PriceFileError):  # it is gone
                if self._mark(name) in known.marks:
                    return known
        return self._index()

    def _series(self, symbol: str, first: date, last: date, index: _Index) -> "Series":
        name = index.files.get(symbol)
        if name is None:
            raise UnknownSymbolError(symbol, self.name)
        return self._table(name).series(symbol, first, last)

    def _marks(self) -> tuple[_Mark, ...]:
        try:
            entries = [path for path in self._folder.iterdir() if path.suffix.lower() in _SUFFIXES]
            stats = [(path, path.stat()) for path in entries if not path.name.startswith(".")]
        except OSError as error:
            raise SourceUnavailableError(f"SIGMA_PRICE_FILES={self._folder}: {error.strerror}") from None
        return tuple(sorted(_mark(path.name, stat) for path, stat in stats))

    def _index(self, marks: tuple[_Mark, ...] | None = None) -> _Index:
        marks = marks or self._marks()
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
        for name, *_ in marks:
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
            before = self._mark(name)
            found = survey(self._folder / name)
            self._check_is_as(before)
        except PriceFileError as error:
            raise SourceUnavailableError(f"SIGMA_PRICE_FILES={self._folder}: {error}") from None
        return found

    def _table(self, name: str) -> "Table":
        from resources.sources.file_tables import Table

        mark = self._mark(name)
        if mark not in self._tables:
            self._tables = {other: table for other, table in self._tables.items() if other[0] != name}
            if len(self._tables) == _OPEN_TABLES:
                del self._tables[next(iter(self._tables))]
            table = Table(self._folder / name, self._scratch)
            self._check_is_as(mark)
            self._tables[mark] = table
        return self._tables[mark]

    def _mark(self, name: str) -> _Mark:
        try:
            return _mark(name, (self._folder / name).stat())
        except OSError as error:
            raise PriceFileError(name, None, None, f"cannot be read: {error.strerror}") from None

    def _check_is_as(self, mark: _Mark) -> None:
        """Refuse what was read while somebody wrote it: half of a file is no file."""
        if self._mark(mark[0]) != mark:
            problem = "changed while it was read; ask again when it is written, and move files into the folder whole"
            raise PriceFileError(mark[0], None, None, problem)

    @cached_property
    def _scratch(self) -> Path | None:
        """A folder for the numbers of large files; the system's own without a cache."""
        if self._options.cache:
            self._options.cache.mkdir(parents=True, exist_ok=True)
        return self._options.cache


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def _mark(name: str, stat: os.stat_result) -> _Mark:
    return name, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size
