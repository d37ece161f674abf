"""How counts are written, in reports and reasons alike."""

from __future__ import annotations


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Write a count with its noun; `nouns` where more than one do not simply end in an s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
