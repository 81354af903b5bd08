"""Rounds of kills: commands and runs of the daemon die at seeded points, then all is held against a peaceful home.

A round is known by its seed: where each of its processes dies, and which book it works on, follows from that alone.
"""

import json
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.web import free_port, kill, wait_for
from tests.faults import state
from tests.faults.commands import Command, count_points, start
from tests.faults.homes import Homes, write_books
from tests.faults.points import STAGES, VARIABLE, Point
from tests.faults.state import State, Verdict
from tests.support.home import ROOT, Home
from tests.support.ui import running

A_ROUND = 5
#: Of ten rounds, one goes through the daemon: a kill there takes half a minute.
_BY_DAEMON = 10
_EDITED = "edited"
_SECONDS = 1.5  # of a command that nobody kills
_PATIENCE = 15  # seconds without a kill until the daemon gets another book
#: The points of a run of the daemon are so many times fewer than those of a command, which makes several runs.
_RUNS = 8
#: So Dagster's server tells, with a traceback, of a run that was killed before it had begun.
_KILLED_AT_START = "terminated unexpectedly with exit code -9"
_SITE = Path(__file__).with_name("site")


@dataclass
class Round:
    """How a round ended."""

    seed: int
    kills: int = 0
    verdict: Verdict = field(default_factory=Verdict)


@dataclass
class Scratch:
    """What peaceful homes hold: all books at once, with the edited portfolio before and after."""

    books: dict[str, Path]
    states: dict[str, State]
    points: dict[str, int]  # of a command that onboards a book into an empty home

    @classmethod
    def of(cls, homes: Homes) -> "Scratch":
        """Compute everything in homes of their own."""
        books, states = write_books(homes.folder / "books"), {}
        for edition in (_EDITED, f"{_EDITED} again"):
            chosen = [name for name in books if not name.startswith(_EDITED) or name == edition]
            states[edition] = in_peace(homes, {_portfolio(name): books[name] for name in chosen})
        before, after = states.values()
        # A symbol that was held once keeps its rows.
        states = dict(zip(states, (state.knowing(before, after), state.knowing(after, before)), strict=True))
        with homes.new() as home:
            counted = count_points(home, "onboard", books["one"])
        return cls(books, states, counted)


def in_peace(homes: Homes, books: Mapping[str, Path]) -> State:
    """Compute portfolios in a home of their own, all at once."""
    with homes.new() as home:
        for name, file in books.items():
            _peaceful(start(home, "add", file, "--name", name))
        _peaceful(start(home, "refresh"))
        return state.read(home)


def play(homes: Homes, scratch: Scratch, seed: int, most: int) -> Round:
    """Play the round of a seed, of at most so many kills."""
    chance, found = random.Random(seed), Round(seed)  # noqa: S311 - repeatable is what it is to be
    with homes.new() as home:
        try:
            if seed % _BY_DAEMON == 0:
                edition = _kill_runs(home, scratch, chance, found, most)
            else:
                edition = _kill_commands(home, scratch, chance, found, most)
            if edition:
                _note(found, start(home, "onboard", scratch.books[edition], "--name", _EDITED))
            _note(found, start(home, "refresh"))
            plan = start(home, "plan", "--json")
            plan.wait()
            if json.loads(plan.said())["runs"] != 0:
                found.verdict.lost.append(f"after a refresh there is work to do: {plan.said()}")
            judged = state.judge(state.read(home), scratch.states[edition or _EDITED])
            for mine, other in zip(vars(found.verdict).values(), vars(judged).values(), strict=True):
                mine += other
        except TimeoutError as hang:
            found.verdict.wrong.append(str(hang))
    return found


def _kill_commands(home: Home, scratch: Scratch, chance: random.Random, found: Round, most: int) -> str:
    """Kill commands that onboard books; beside some, another one works in peace. Gives the last edition sent."""
    edition = ""
    for _ in range(4 * most):
        if found.kills == most:
            break
        name, other = chance.sample(list(scratch.books), 2)
        stage = chance.choice([*STAGES, "moment"])
        point = Point(stage, chance.randint(1, scratch.points[stage])) if stage in STAGES else None
        moment, shared = chance.uniform(0, _SECONDS), chance.random() < 0.2
        edition = name if name.startswith(_EDITED) else edition
        bystander = start(home, "onboard", scratch.books[other]) if shared and not other.startswith(_EDITED) else None
        command = start(home, "onboard", scratch.books[name], "--name", _portfolio(name), point=point)
        if not point:
            command.kill_after(moment)
        if command.wait() == -signal.SIGKILL:
            found.kills += 1
        else:
            _note(found, command)
        if bystander:
            _note(found, bystander)
    return edition


def _kill_runs(home: Home, scratch: Scratch, chance: random.Random, found: Round, most: int) -> str:
    """Kill runs of the daemon, and some with it, while books come in one after the other."""
    file = home.path.with_name(f"{home.path.name}-point")
    reached = file.with_suffix(".reached")
    armed = Home(home.path, {**home.variables, "PYTHONPATH": f"{_SITE}:{ROOT}", VARIABLE: str(file)})
    names = _shuffled([name for name in scratch.books if not name.startswith(_EDITED)], chance)
    terminal = home.path.with_name(f"{home.path.name}-daemon")
    while found.kills < most:
        before = found.kills
        with suppress(ProcessLookupError), running(armed, free_port(), terminal) as process:
            while found.kills < most and process.poll() is None:
                stage = chance.choice(STAGES)
                point = Point(stage, chance.randint(1, 1 + scratch.points[stage] // _RUNS))
                together = chance.random() < 0.3
                file.write_text(json.dumps({"point": point, "all": together}))
                while not reached.exists():
                    with suppress(TimeoutError):
                        wait_for(reached.exists, _PATIENCE, "a run dies")
                        continue
                    if (name := next(names, None)) is None:
                        break
                    _note(found, start(home, "add", scratch.books[name]))
                if not reached.exists():
                    break
                reached.unlink()
                found.kills += 1
                if together:
                    kill(process)
            file.unlink(missing_ok=True)
            if process.poll() is None:
                wait_for(lambda: not state.read(home).unfinished, 120, "the daemon's runs have ended")
        if found.kills == before:
            break
    told = terminal.read_text()
    if told.count("Traceback") > told.count(_KILLED_AT_START):
        found.verdict.wrong.append(f"the daemon wrote: {told}")
    return ""


def _shuffled(names: list[str], chance: random.Random) -> Iterator[str]:
    return iter(chance.sample(names, len(names)))


def _portfolio(name: str) -> str:
    return _EDITED if name.startswith(_EDITED) else name


def _note(found: Round, command: Command) -> None:
    """Wait for a command that nobody kills; what is wrong with its end is noted."""
    if fault := command.fault():
        found.verdict.wrong.append(fault)


def _peaceful(command: Command) -> None:
    if fault := command.fault():
        raise RuntimeError(fault)
