"""How the diagnosis of one regression is shown to people; the same numbers as data are `Diagnosis.to_json`."""

from collections.abc import Sequence

from rich.console import Console

from sigma_dagster.analysis.diagnosis import Diagnosis, Influence, Residuals
from sigma_dagster.analysis.wording import number, percent, words
from sigma_dagster.cli.tables import print_rows


def diagnosis(out: Console, found: Diagnosis) -> None:
    """Print the regression, then what speaks against it."""
    out.print(
        f"{found.symbol}, window {found.first}..{found.as_of}, {found.n_obs} sessions, "
        f"factor model {found.factor_model}, method {found.method}"
    )
    out.print(
        f"R2 {percent(found.r_squared)}, residual volatility {percent(found.residual_vol)} a year, "
        f"market in total {number(found.market_total)}, {words(found.quality)}, condition {number(found.condition, 1)}"
    )
    if found.reason:
        out.print(f"Not known: {found.reason}")
    out.print()
    if found.factors:
        _loadings(out, found)
    if found.residuals:
        _residuals(out, found.residuals)
        _influential(out, found.influential)


def _loadings(out: Console, found: Diagnosis) -> None:
    if found.method == "bayes":
        _posterior(out, found)
    shrunk = found.method == "ridge"
    header = ("factor", "beta", "std. error", *(["least squares"] if shrunk else []), "Newey-West", "VIF")
    rows = [
        (
            words(one.factor),
            number(one.beta),
            number(one.se),
            *([number(one.beta_ols)] if shrunk else []),
            number(one.se_hac),
            number(one.vif, 1),
        )
        for one in found.factors
    ]
    print_rows(out, header, rows)
    of = " of the least-squares betas" if found.method in ("ridge", "bayes") else ""
    out.print(f"Newey-West: standard errors{of} that allow for autocorrelation over {found.hac_lags} sessions and for")
    out.print("changing variance. VIF above 10: the factor can hardly be told apart from the others.")
    out.print()


def _posterior(out: Console, found: Diagnosis) -> None:
    """Show how each beta comes about: what is expected, what the data say, and the mean weighed by how sure each is."""
    header = ("factor", "prior", "+/-", "data", "+/-", "beta", "+/-")
    rows = [
        (words(one.factor), *map(number, (one.prior, one.prior_sd, one.beta_ols, one.se_ols, one.beta, one.se)))
        for one in found.factors
    ]
    print_rows(out, header, rows)


def _residuals(out: Console, residuals: Residuals) -> None:
    rows = [
        ("Durbin-Watson; 2: no autocorrelation", number(residuals.durbin_watson, 2)),
        ("Jarque-Bera", number(residuals.jarque_bera, 1)),
        ("... its p, for normal residuals", f"{residuals.jarque_bera_p:.2g}"),
        ("skew; 0: symmetric", number(residuals.skew, 2)),
        ("kurtosis; 3: normal", number(residuals.kurtosis, 2)),
    ]
    print_rows(out, ("residuals", ""), rows)


def _influential(out: Console, sessions: Sequence[Influence]) -> None:
    rows = [
        (f"{one.session}", number(one.cooks_distance), percent(one.symbol_return), percent(one.residual))
        for one in sessions
    ]
    print_rows(out, ("most influential session", "Cook's distance", "return", "residual"), rows)
