"""Files of principles on the disk: what a run is started from, and what `principles export` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas_agent.errors import ConfigError, PrincipleError, StorageError
from nas_agent.records import Json
from nas_agent.spaces.base import Space

if TYPE_CHECKING:
    from nas_agent.principles.exchange import Exchange, Shared

LARGEST = 1_000_000  # bytes; a hundred principles with all their evidence are a tenth of it


@dataclass(frozen=True, slots=True)
class Imported:
    """What a run starts from: it stands in the first event, so that the file is never read again."""

    file: str
    shared: tuple[Shared, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> Json:
        """As plain JSON types."""
        from nas_agent.principles.exchange import to_log

        return {"file": self.file, "principles": [to_log(each) for each in self.shared], "notes": list(self.notes)}


def read_for(path: Path, space: Space) -> Imported:
    """Read a file and check it against a space; ConfigError names the file, the principle and what to do."""
    from nas_agent.principles.exchange import check

    exchange = read(path)
    try:
        exchange = check(exchange, space.name, space.decisions)
    except PrincipleError as error:
        raise ConfigError(f"{path}: {error}") from error
    return Imported(str(path), exchange.shared, exchange.notes)


def read(path: Path) -> Exchange:
    """Read a file of either kind; whether it fits a space is for `read_for` to tell."""
    parse = _kind(path)[0]
    text = _text(path)
    try:
        return parse(text)
    except PrincipleError as error:
        raise ConfigError(f"{path}: {error}") from error


def write(path: Path, exchange: Exchange) -> None:
    """Write a file of either kind, whole or not at all."""
    text = _kind(path)[1](exchange)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"{path}: cannot be written ({reason}); choose another --out") from error


def _kind(path: Path) -> tuple[Callable[[str], Exchange], Callable[[Exchange], str]]:
    from nas_agent.principles import markdown
    from nas_agent.principles.exchange import Exchange, read_json

    match path.suffix.lower():
        case ".json":
            return read_json, Exchange.to_json
        case ".md" | ".markdown":
            return markdown.read, markdown.write
    raise ConfigError(f"{path}: expected a file of principles, FILE.md or FILE.json; rename it, or export one")


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file of principles; `nas-agent principles export` writes one")
        size = path.stat().st_size
        if size > LARGEST:
            raise ConfigError(f"{path}: {size:,} bytes are no file of principles; {LARGEST:,} are read at most")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{str(path)[:200]!r}: cannot be read ({reason})") from error
    if b"\0" in raw:
        raise ConfigError(f"{path}: it holds NUL bytes, so it is no text in UTF-8; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8, which byte {error.start} is not; save it as UTF-8") from error
