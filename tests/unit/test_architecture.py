"""The picture of docs/architecture.md against the code: the rooms, and which of them import which."""

import re

import grimp

from tests.support.home import ROOT

PACKAGES = ("sigma_dagster", "assets", "resources")
#: Modules at the top of a package that stand apart from the others there.
APART = (
    *("sigma_dagster.api", "sigma_dagster.definitions", "sigma_dagster.services"),
    *("sigma_dagster.settings", "sigma_dagster.errors"),
    *("assets.catalogue", "assets.factor_models"),
)


def room_of(module: str, folders: set[str]) -> str:
    """Name the room of a module: its folder, or itself where it stands apart, or the modules of the top."""
    folder = ".".join(module.split(".")[:2])
    return folder if folder in folders or folder in APART else module.split(".")[0]


def arrows() -> set[tuple[str, str]]:
    """Which room imports which, without what follows from others: the picture stays readable."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    folders = {module for module in graph.modules if module.count(".") == 1 and graph.find_children(module)}
    direct: dict[str, set[str]] = {}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            one, other = room_of(module, folders), room_of(imported, folders)
            if one != other:
                direct.setdefault(one, set()).add(other)

    def reaches(start: str) -> set[str]:
        found: set[str] = set()
        todo = list(direct.get(start, ()))
        while todo:
            if (room := todo.pop()) not in found:
                found.add(room)
                todo += direct.get(room, ())
        return found

    return {
        (one, other)
        for one, others in direct.items()
        for other in others
        if not any(other in reaches(between) for between in others - {other})
    }


def test_the_picture_shows_the_imports_as_they_are() -> None:
    """An arrow of docs/architecture.md is an import of the code, and none is missing but those that follow."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^ *([\w.]+) --> ([\w.]+)$", page, flags=re.MULTILINE))
    assert drawn == arrows()


def test_no_room_imports_itself_by_way_of_another() -> None:
    """The rooms stand in a line: whoever reads one need not read those that use it."""
    following: dict[str, set[str]] = {}
    for one, other in arrows():
        following.setdefault(one, set()).add(other)
    while following:
        last = {room for room in {o for others in following.values() for o in others} if room not in following}
        assert last, f"a circle among {sorted(following)}"
        following = {room: others - last for room, others in following.items() if others - last}


def test_the_places_inside_dagster_are_listed() -> None:
    """docs/operations.md names the files that use Dagster's inside, all of them and no other, and tests that are there:
    who upgrades Dagster looks there."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    inside = re.compile(r"dagster\._|(from|import) dagster_(celery|graphql|postgres|shared|webserver)\b")
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    using = {str(path.relative_to(ROOT)) for path in sources if inside.search(path.read_text(encoding="utf-8"))}
    assert set(re.findall(r"`((?:sigma_dagster|assets|resources)/[\w/]+\.py)`", page)) == using
    tests = set(re.findall(r"`(test_\w+\.py)`", page))
    assert len(tests) > 10
    assert tests <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}
