"""SIGMA_FACTOR_MODEL: which model it names, and what is said of a file that breaks a rule."""

import subprocess
from pathlib import Path

import pytest

from assets import model_file
from assets.factor_models import SAMPLE_5, US_6, Factor, FactorModel
from assets.model_file import ModelFileError
from assets.numerics.constants import LOOKBACK_RETURNS
from resources.database.engine import Database
from resources.sources.sample import SampleSource
from sigma_dagster.services import LackingProxiesError, Services
from sigma_dagster.settings import Settings

RIDGE = """
name = "my-ridge"
method = "ridge"
window = 200
min_obs = 40

[factors]
value = { proxy = "VLUE", minus = "sp500" }
market = { proxy = "SP500" }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.toml"


def read(file: Path, text: str | bytes) -> FactorModel:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return model_file.read(str(file))


# --- which model


@pytest.mark.parametrize(
    ("setting", "sources", "model"),
    [
        ("", ("sample",), SAMPLE_5),
        ("", ("alpha_vantage",), US_6),
        ("", ("folder", "sample"), US_6),
        ("us-6", ("sample",), US_6),
        ("sample-5", ("alpha_vantage",), SAMPLE_5),
    ],
)
def test_a_built_in_name_or_the_one_that_suits_the_sources(
    setting: str, sources: tuple[str, ...], model: FactorModel
) -> None:
    """The setting names a model; without one the price source decides."""
    assert model_file.choose(setting, sources) is model


def test_the_setting_is_read_from_the_environment(file: Path) -> None:
    """SIGMA_FACTOR_MODEL reaches the commands."""
    file.write_text(RIDGE)
    services = Services.of(Settings.from_environment({"SIGMA_FACTOR_MODEL": f" {file} "}))
    assert services.model.name == "my-ridge"
    assert Services.of(Settings.from_environment({})).model is SAMPLE_5


# --- a file


def test_a_file_says_everything(file: Path) -> None:
    """The market comes first and symbols are upper-cased, however they are written."""
    factors = (Factor("market", "SP500"), Factor("value", "VLUE", "SP500"))
    assert read(file, RIDGE) == FactorModel("my-ridge", factors, "ridge", 200, 40)


def test_the_order_in_the_file_and_its_layout_do_not_change_the_key(file: Path) -> None:
    """Rewriting a file without changing the model costs no computation."""
    other = """\
min_obs=40  # sessions
window=200
name='my-ridge'
method='ridge'
[factors.market]
proxy='SP500'
[factors.value]
minus='SP500'
proxy='VLUE'
"""
    assert read(file, other).key == read(file, RIDGE).key
    assert read(file, b"\xef\xbb\xbf" + RIDGE.replace("\n", "\r\n").encode()).key == read(file, RIDGE).key


def test_what_is_left_out_has_its_default(file: Path) -> None:
    """A file may leave out what has a default."""
    model = read(file, 'name = "short"\nfactors = { growth = {}, market = {} }')
    assert model == FactorModel("short", (Factor("market", "SPY"), Factor("growth", "VUG", "SPY")), "ols", 252, 60)


def test_a_model_without_a_market_is_least_squares(file: Path) -> None:
    """A model needs no market factor, but ridge does."""
    assert read(file, 'name = "rates"\nfactors = { interest_rate = {} }').factor_names == ("interest_rate",)


def test_the_longest_window_is_the_look_back(file: Path) -> None:
    """A window is never longer than the prices that are fetched for it."""
    text = RIDGE.replace("200", str(LOOKBACK_RETURNS))
    assert read(file, text).window == LOOKBACK_RETURNS == 273


BASE = 'name = "m"\nfactors = { market = { proxy = "SP500" } }\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("windw = 3\n" + BASE, "windw = 3: no such key; the keys here are name, method, window, min_obs, factors"),
        ("factors = { market = {} }", "name is missing: a letter or digit is needed"),
        (BASE.replace('"m"', '"a b"'), "name = 'a b': a letter or digit is needed"),
        (BASE.replace('"m"', f'"{"m" * 41}"'), "a letter or digit is needed"),
        (BASE.replace('"m"', "7"), "name = 7: a letter or digit is needed"),
        ('method = "lasso"\n' + BASE, "method = 'lasso': one of ols, ridge, univariate, bayes is needed"),
        ("method = []\n" + BASE, "method = []: one of ols"),
        ("window = 504\n" + BASE, "window = 504: a whole number of sessions is needed, from 11"),
        ("window = 504\n" + BASE, "to 273 (the sessions of prices kept before each one)"),
        ("window = 10\n" + BASE, "window = 10: a whole number"),
        ("window = 252.0\n" + BASE, "window = 252.0: a whole number"),
        ("window = true\n" + BASE, "window = True: a whole number"),
        ("min_obs = 10\n" + BASE, "min_obs = 10: a whole number of sessions is needed, from 11"),
        ("min_obs = 253\n" + BASE, "min_obs = 253: a whole number"),
        ("min_obs = nan\n" + BASE, "min_obs = nan: a whole number"),
        ("window = 50\n" + BASE, "min_obs = 60: a whole number of sessions is needed, from 11"),
        ('name = "m"', "factors is missing: a table is needed"),
        ('name = "m"\nfactors = {}', "factors = {}: a table is needed"),
        ('name = "m"\nfactors = ["market"]', "factors = ['market']: a table is needed"),
        ('name = "m"\nfactors = { carry = {} }', "factors.carry = {}: no such factor; the catalogue has market, value"),
        ('name = "m"\nfactors = { market = "SPY" }', "factors.market = 'SPY': needed is { proxy"),
        ('name = "m"\nfactors = { market = { poxy = "SPY" } }', "factors.market.poxy = 'SPY': no such key"),
        ('name = "m"\nfactors = { market = { minus = "SPY" } }', "factors.market.proxy is missing: a symbol is needed"),
        ('name = "m"\nfactors = { market = { proxy = "" } }', "factors.market.proxy = '': a symbol is needed"),
        ('name = "m"\nfactors = { market = { proxy = "S P" } }', "factors.market.proxy = 'S P': a symbol is needed"),
        ('name = "m"\nfactors = { size = { proxy = "A", minus = "a" } }', "factors.size.minus = 'A': is the proxy"),
        (
            'name = "m"\nfactors = { size = { proxy = "A" }, value = { proxy = "A" } }',
            "factors.size = {'proxy': 'A'}: is the same series as value; drop one",
        ),
        ('name = "m"\n[factors]\nsize = {}\nsize = {}', "is not TOML, where each key and each factor stands once"),
        ('method = "ridge"\nname = "m"\nfactors = { size = {} }', "method = 'ridge': needs the factor market"),
        (
            'method = "univariate"\nname = "m"\nfactors = { size = {} }',
            "method = 'univariate': needs the factor market",
        ),
        ("name = ", "is not TOML"),
        (b"\xff\xfe\x00", "is not TOML"),
        (b"\x00" * 70_000, "is larger than 64 KB"),
        ("x = " + "[" * 30_000, "is not TOML"),
        ("name = " + repr("x" * 500), "..."),
    ],
)
def test_a_broken_rule_is_one_message_with_file_key_value_and_rule(file: Path, text: str | bytes, said: str) -> None:
    """Each rule of the file has a message that names file, key, value and rule."""
    with pytest.raises(ModelFileError) as caught:
        read(file, text)
    message = str(caught.value)
    assert message.startswith(f"SIGMA_FACTOR_MODEL={file}")
    assert said in message
    assert "\n" not in message
    assert len(message) < 400 + len(str(file))


@pytest.mark.parametrize(
    "setting", ["sample-6", "nowhere/model.toml", "/", "a\0b", "x" * 5000, "~nobody-by-this-name/m"]
)
def test_neither_a_built_in_name_nor_a_file(setting: str) -> None:
    """A setting that names nothing says what it could name."""
    with pytest.raises(
        ModelFileError, match=r"is no built-in model \(sample-5, us-6, us-6b\) nor a file that can be read: ."
    ):
        model_file.choose(setting, ("sample",))


# --- its proxies


def lacking(source: SampleSource, sources: str) -> LackingProxiesError:
    settings = Settings.from_environment({"SIGMA_PRICE_SOURCES": sources})
    with pytest.raises(LackingProxiesError) as caught:
        Services(settings, Database("sqlite://"), source, US_6).check_proxies()
    return caught.value


def test_a_proxy_that_the_source_lacks_is_named() -> None:
    """A model that cannot be fed names the symbols that are lacking, and the lines to type."""
    error = lacking(SampleSource(), "sample")
    assert (error.model, error.lacking) == (US_6, ["SPY", "VTV", "VUG", "IWM", "TLT"])
    first, *lines = str(error).splitlines()
    assert first.startswith("factor model us-6: the sample has no prices of SPY, VTV, VUG, IWM, TLT. Add them, or type")
    assert [line.strip() for line in lines] == [
        "model sample-5  export SIGMA_FACTOR_MODEL=sample-5",
        "no key          make install-yahoo && export SIGMA_PRICE_SOURCES=yahoo",
        "a free key      export SIGMA_PRICE_SOURCES=tiingo SIGMA_TIINGO_KEY=YOUR_KEY",
        "Alpha Vantage   export SIGMA_PRICE_SOURCES=alpha_vantage ALPHAVANTAGE_API_KEY=YOUR_KEY",
    ]


@pytest.mark.parametrize(
    ("symbols", "factors"),
    [
        (["MTUM", "QUAL", "SPY", "VTV", "X"], [("market", "SPY"), ("momentum", "MTUM"), ("quality", "QUAL")]),
        (["X", "TLT", "QUAL"], [("market", "SYMBOL")]),
    ],
)
def test_the_line_that_is_offered_makes_a_model(
    tmp_path: Path, symbols: list[str], factors: list[tuple[str, str]]
) -> None:
    """The factors that the symbols can feed, and a market of one's own choice where SPY is not among them."""

    class Some(SampleSource):
        def symbols(self) -> list[str]:
            return symbols

    error = lacking(Some(), "files")
    assert "export SIGMA_PRICE_SOURCES=files,tiingo SIGMA_TIINGO_KEY=YOUR_KEY" in error.remedies["a free key"]
    line = f'{error.remedies["your own model"]} && printf %s "$SIGMA_FACTOR_MODEL"'
    told = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603
    model = model_file.choose(told.stdout, ("files",))
    assert [(factor.name, factor.proxy) for factor in model.factors] == factors


def test_a_source_that_cannot_list_its_symbols_is_believed() -> None:
    """A source without a list is taken to have the proxies."""

    class Live(SampleSource):
        def symbols(self) -> None:  # type: ignore[override]
            return None

    services = Services(Settings.from_environment({}), Database("sqlite://"), Live(), US_6)
    services.check_proxies()
