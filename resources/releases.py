"""A database of another release of the program, or of Dagster: how it is refused."""


class OtherReleaseError(RuntimeError):
    """A database whose tables are not those of this release; the message ends with the command to run."""

    def __init__(self, what: str, found: str, known: str, *, older: bool) -> None:
        super().__init__(what, found, known)
        self.what = what
        self.found = found
        self.known = known
        self.older = older

    def __str__(self) -> str:
        made = f"{self.what}: made by {'an older' if self.older else 'a newer'} release"
        tables = f"its tables are at {self.found}, those of this release at {self.known}"
        if self.older:
            return f"{made} ({tables}). Keep a copy: sigma db backup FILE. Then run: sigma db upgrade"
        return (
            f"{made} ({tables}). Run: git pull && make install; "
            "or, with a backup of this release: sigma db restore FILE --replace"
        )
