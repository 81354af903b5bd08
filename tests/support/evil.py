"""What files and answers may hold that nobody expects, as Hypothesis strategies; and how often a fuzz test tries.

`FUZZ_EXAMPLES=20000 pytest -m slow tests/unit/test_fuzz_holdings.py` tries more.
"""

import codecs
import gc
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: A few for each run of the tests, many for `make test-slow`.
EXAMPLES = [25, pytest.param(int(os.environ.get("FUZZ_EXAMPLES", "2000")), marks=pytest.mark.slow)]
#: What takes longer than that for a file of ten lines hangs.
_HANGS = timedelta(seconds=30)


def fuzz(examples: int, check: Callable[..., object], *strategies: st.SearchStrategy[Any]) -> None:
    """Call the check with so many examples of the strategies."""

    def once(drawn: tuple[Any, ...]) -> None:
        check(*drawn)

    calm = settings(max_examples=examples, deadline=_HANGS, suppress_health_check=list(HealthCheck))
    # Garbage that is collected where something nests too deep cannot be finalized, and pytest takes that for a fault.
    gc.collect()
    gc.disable()
    try:
        calm(given(st.tuples(*strategies))(once))()
    finally:
        gc.enable()


_NUMBERS = """0 -0 1 -1 00 007 1.5 .5 5. . - + -- 1e3 1E-3 1e400 -1e400 1e-400 1e308 999999999999
9999999999999 0x10 1_000
NaN nan -nan inf -inf Infinity 1,5 1,000 1,0,0 1.000,5 1.000.000 $5 -$5 $-5 5$ €5 (5) (-5) ((5)) 5- +-5
% 5% 1/2 ½ ² １２ ٣ Ⅻ
1\u00a0000 1\u2009000 1'000 2022-12-28 True true None null #N/A #REF! =1+1 9999999999999999999999999
0.00000000000000000000001
3.14159265358979323846264338327950288"""
_DATES = """2022-12-28 2022-12-29 2022-02-29 2022-02-30 2022-00-10 2022-13-01 0000-01-01 0001-01-01
9999-12-31 10000-01-01
2022-W01-1 2022-001 20221228 20220230 20221301 202212 2022-1-2 2022/12/28 12/28/2022 28/12/2022
28.12.2022 1/2/22 1/2/3
2022-12-28T00:00:00Z 2022-12-28T23:59:60+25:00 2022-12-289 2022-12-28garbage today now -2022-12-28
２０２２-１２-２８ 44923
1669852800 1669852800000 May-21 2022-12-28\u00a0 2020-06-10"""
_WORDS = """AAPL KO BRK.B BRK-B ^GSPC CASH USD total Total symbol quantity Symbol Header Data - -- n/a
N/A cash public private
option AAPL240119C00150000 037833100 SPAXX** =cmd|'/C+calc'!A0 @SUM(1) ../../etc/passwd '; """
_ODD = [
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r",
        "\x00",
        "\x07",
        "\x1b[31mred\x1b[0m",
        "\x7f",
        "\x85",
        "\u2028",
        "\u202eevil",
        "\ufeff",
    ),
    *(
        '"',
        '""',
        "'",
        "\\",
        "\\x",
        "\\N{",
        ",",
        ";",
        "|",
        "a,b",
        "#",
        "# comment",
        "%s",
        "{}",
        "{0}",
        "\ud7ff",
        "😀",
        "ß",
        "İ",
    ),
    *("A" * 15, "A" * 16, "9" * 400, "x" * 5000, "é" * 50, "(" * 200, "[" * 200, "DROP TABLE lot", "('Close', '\\x')"),
]
words = st.sampled_from([*_NUMBERS.split(), *_DATES.split(" "), *_DATES.split(), *_WORDS.split(), *_ODD])
texts = words | st.text(max_size=12) | st.from_regex(r"\A[-+$(]?[0-9]{0,14}[.,]?[0-9]{0,22}\)?\Z")

_plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from(
        [0, -1, 10**400, -(10**20), 2**31, 2**63, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")]
    )
    | st.floats()
    | texts
)
#: Whatever JSON can say, and a bit more (NaN, integers of any length), as Python's reader takes it.
values = st.recursive(
    _plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


@st.composite
def changed(draw: st.DrawFn, whole: Any, times: int = 3) -> Any:
    """Give a JSON value of which some parts are other ones, gone, doubled, or have another name."""
    for _ in range(draw(st.integers(1, times))):
        whole = _changed(draw, whole)
    return whole


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(list(value)))
        how = draw(st.sampled_from(["deeper", "deeper", "deeper", "gone", "renamed"]))
        rest = {key: one for key, one in value.items() if key != name}
        if how == "deeper":
            return {key: _changed(draw, one) if key == name else one for key, one in value.items()}
        return rest if how == "gone" else rest | {draw(texts): value[name]}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(value) - 1))
        how = draw(st.sampled_from(["deeper", "deeper", "deeper", "gone", "twice"]))
        part = {"deeper": lambda: [_changed(draw, value[at])], "gone": list, "twice": lambda: [value[at], value[at]]}[
            how
        ]()
        return [*value[:at], *part, *value[at + 1 :]]
    return draw(values)


@st.composite
def grids(draw: st.DrawFn, whole: list[list[str]], times: int = 4) -> list[list[str]]:
    """Give a table of texts, its header first, of which cells are other ones, and columns or rows moved or gone."""
    table = [list(row) for row in whole]
    for _ in range(draw(st.integers(0, times))):
        row, other = (draw(st.integers(0, len(table) - 1)) for _ in range(2))
        cell = draw(st.integers(0, max(0, len(table[row]) - 1)))
        match draw(
            st.sampled_from(
                ["cell"] * 6 + ["row gone", "row twice", "row swapped", "cell gone", "cell more", "columns"]
            )
        ):
            case "cell" if table[row]:
                table[row][cell] = draw(texts)
            case "row gone" if len(table) > 1:
                del table[row]
            case "row twice":
                table.insert(other, list(table[row]))
            case "row swapped":
                table[row], table[other] = table[other], table[row]
            case "cell gone" if table[row]:
                del table[row][cell]
            case "cell more":
                table[row].insert(cell, draw(texts))
            case "columns" if len({len(one) for one in table}) == 1:
                order = draw(st.permutations(range(len(table[0]))))
                table = [[one[at] for at in order] for one in table]
            case _:
                pass
    return table


@st.composite
def encoded(draw: st.DrawFn, text: str) -> bytes:
    """Give the bytes of a text as editors and spreadsheets write it, and some as nobody does."""
    marks = {
        "utf-8": b"",
        "utf-8-sig": b"",
        "utf-16": b"",
        "utf-16-le": codecs.BOM_UTF16_LE,
        "cp1252": b"",
        "utf-32": b"",
    }
    name = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", *marks]))
    data = marks[name] + text.encode(name, "replace")
    return draw(damaged(data)) if draw(st.integers(0, 4)) == 0 else data


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Give bytes that were cut off, or of which some are others."""
    data = data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 3)) :]
    return data
