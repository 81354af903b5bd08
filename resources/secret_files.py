"""Secrets in files, as a container or a service manager hands them over."""

from pathlib import Path

#: No password is longer; a larger file is another one by mistake.
_MOST_BYTES = 65_536


def read_url(text: str) -> str:
    """Give a URL; a text that is none is the path of a file that holds one. Raises as `read_secret` does."""
    return text if "://" in text else read_secret(Path(text).expanduser()).strip()


def read_secret(path: Path) -> str:
    """Give a file's text without its last newline; raises OSError, and ValueError naming a rule, never the text."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"a secret has at most {_MOST_BYTES:,} bytes")
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("a secret is text in UTF-8") from None
    if not text.strip():
        raise ValueError("it is empty")
    return text
