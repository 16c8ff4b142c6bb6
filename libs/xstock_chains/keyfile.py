"""Secret keys as text: 64 hexadecimal digits, with or without 0x, the same for every family.

No error shows what was read, for it may be a key.
"""

from pathlib import Path

from xstock_runtime.errors import Fatal


def secret_of_hex(text: str) -> bytes:
    """The secret's bytes; raises Fatal KEY_INVALID."""
    try:
        return bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        raise Fatal("KEY_INVALID", "the key is not 64 hexadecimal digits; check it") from None


def secret_of_file(path: Path) -> bytes:
    """The secret in a file; raises Fatal KEY_UNREADABLE or KEY_INVALID."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        message = f"cannot read the key file {path.name}; check the path and its rights"
        raise Fatal("KEY_UNREADABLE", message, {"file": path.name}) from None
    return secret_of_hex(text)
