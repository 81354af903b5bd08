"""Take the README's pictures of the Dagster UI: ``make screenshots``.

Onboards the examples into a home of its own, starts `sigma dev` on it, and looks at it with a headless Chromium
(`tests.support.browser`).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.web import free_port
from sigma_dagster.orchestration import webserver
from tests.support.browser import BROWSERS, Page, find_browser, opened
from tests.support.home import CORE, GROWTH, Home
from tests.support.ui import running

IMAGES = Path(__file__).with_name("images")
ONE_PARTITION = "/assets/factor_exposures?view=partitions&partition=2022-12-28%7CAAPL"
FORCE = "ops:\n  factor_exposures:\n    config:\n      force: true"


def lineage(page: Page) -> None:
    """The global asset graph: all groups open, and all of it in the window."""
    page.open("/asset-groups", 1800, 1250, until="symbol_risk")
    page.click("Hide navigation")
    page.press_alt("E")
    page.open("/asset-groups", 1800, 1250, until="portfolio_volatility")
    page.see("1 / 1 Passed")


def partitions(page: Page) -> None:
    """Which partitions of an asset are materialized, and what one of them holds."""
    page.open(ONE_PARTITION, 1280, 700, until="beta_market")


def force(page: Page) -> None:
    """The dialog that materializes partitions, with the config by which they are computed again."""
    page.open(ONE_PARTITION, 1280, 700, until="beta_market")
    for text in ("Materialize…", "Config", "Add config"):
        page.click(text)
    page.see("Config Editor")
    page.type(FORCE)
    page.see("No errors")


def report(page: Page) -> None:
    """The first screen of a portfolio's page."""
    page.open("/report/growth", 1000, 900, until="How much")


#: Each picture by the name of its file.
PICTURES: dict[str, Callable[[Page], None]] = {
    "lineage.png": lineage,
    "partitions.png": partitions,
    "force.png": force,
    "report.png": report,
}


def main() -> None:
    """Take all pictures anew."""
    browser = find_browser()
    if browser is None:
        sys.exit(f"no browser found on PATH: install Chromium (looked for {', '.join(BROWSERS)})")
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, _ui(Path(folder)) as ui:
        for name, show in PICTURES.items():
            with opened(browser, ui) as page:
                show(page)
                # 256 colours are enough for a UI, and a third of the bytes.
                Image.open(BytesIO(page.png())).quantize(256).save(IMAGES / name, optimize=True)


@contextmanager
def _ui(folder: Path) -> Iterator[str]:
    """Onboard the examples, and serve the UI on what is stored then; give its address."""
    home, port = Home(folder / "sigma", {}), free_port()
    for book in (CORE, GROWTH):
        home.sigma("onboard", book).check_returncode()
    with running(home, port, folder / "terminal"):
        yield f"http://{webserver.HOST}:{port}"


if __name__ == "__main__":
    main()
