"""`make demo-live`: the demonstration through a pretended Alpha Vantage, started beside it, with the key `demo-key`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.vendors.alpha_vantage import DEMO_KEY, Anything, DemoVendor


def main() -> int:
    """Run `sigma demo` with the settings of a live source in a new home; say what the vendor was asked."""
    with tempfile.TemporaryDirectory(prefix="sigma-live-") as home, DemoVendor(Anything()) as vendor:
        settings = {
            "SIGMA_HOME": home,
            "SIGMA_PRICE_SOURCES": "alpha_vantage",
            "SIGMA_ALPHA_VANTAGE_URL": vendor.address,
            "ALPHAVANTAGE_API_KEY": DEMO_KEY,
        }
        for name, value in settings.items():
            print(f"{name}={value}")  # noqa: T201 - this is a program
        sigma = str(Path(sys.executable).with_name("sigma"))
        done = subprocess.run([sigma, "demo"], env=os.environ | settings, check=False)  # noqa: S603 - our own program
        sizes = [asked.params.get("outputsize") for asked in vendor.asked]
        counts = f"{len(sizes)} times: {sizes.count('full')} full, {sizes.count('compact')} compact"
        print(f"Alpha Vantage was asked {counts}; prices and home were pretended, and are gone")  # noqa: T201
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
