"""How a symbol is written: one form for whatever people and files write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.symbols import canonical, dashed


@pytest.mark.parametrize(
    ("written", "symbol"),
    [
        *((written, "BRK.B") for written in ("BRK.B", "BRK/B", "BRK-B", "BRK B", "brk.b", " Brk-b ")),
        ("BF-B", "BF.B"),
        ("spy", "SPY"),
        ("BTC-USD", "BTC-USD"),
        ("PRIV-1", "PRIV-1"),
        ("^GSPC", "^GSPC"),
        ("A-B-C", "A-B-C"),
    ],
)
def test_trap_28_a_share_class_has_one_form(written: str, symbol: str) -> None:
    """BF.B and BF-B are one security; what is no share class is left as it is."""
    assert canonical(written) == symbol


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9./ -]{0,14}", fullmatch=True))
def test_the_form_of_a_form_is_itself(text: str) -> None:
    """Normalising twice changes nothing, so it does not matter how many places do it."""
    assert canonical(canonical(text)) == canonical(text)
    assert canonical(dashed(canonical("BRK.B"))) == "BRK.B"
