"""A certificate for a server of a test."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str) -> None:
    """Write `cert.pem`, which signs itself, and `key.pem`, for a host."""
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*new, *names, *files], check=True, capture_output=True)  # noqa: S603 - our own command
