"""The plain notation of constraints, as `str(constraint)` prints it, read back.

    edge_0_3 in {nor_conv_1x1, nor_conv_3x3}
    count(skip_connect, none) in [0, 2]
    count(nor_conv_3x3) >= 2
    edge_0_1 in {none} -> edge_0_3 in {nor_conv_3x3}

Names that hold a comma, a brace or the like do not read back; their constraints are written as JSON instead.
"""

from __future__ import annotations

import json
import re

from nas_agent.errors import PrincipleError
from nas_agent.principles.constraint import Allowed, Constraint, Count, When, constraint_from_dict

LONGEST = 20_000  # characters of one constraint
EXAMPLES = "'edge_0_1 in {a, b}', 'count(a, b) >= 2', 'count(a) in [0, 2]', 'x in {a} -> y in {b}', or JSON"
_NAMES = r"[^{}()\[\]]*"
_ALLOWED = re.compile(rf"([^\s{{}}()\[\]]+)\s+in\s+\{{({_NAMES})\}}")
_COUNT = re.compile(rf"count\(({_NAMES})\)\s*(>=|<=|==|in)\s*(\d{{1,6}}|\[\s*\d{{1,6}}\s*,\s*\d{{1,6}}\s*\])")


def read_constraint(text: str) -> Constraint:
    """Read a constraint in the plain notation or as JSON; PrincipleError says what was expected."""
    text = text.strip()
    if len(text) > LONGEST:
        raise PrincipleError(f"a constraint of {len(text):,} characters is too long; at most {LONGEST:,} are read")
    if text.startswith("{"):
        return _read_json(text)
    before, arrow, after = text.partition("->")
    if arrow:
        condition = _allowed(before)
        return When(condition.decision, condition.options, _allowed(after))
    return _count(text) if text.startswith("count") else _allowed(text)


def write_constraint(constraint: Constraint) -> str:
    """Write a constraint so that `read_constraint` gives it back: plainly where that is possible, else as JSON."""
    plain = str(constraint)
    try:
        if plain.isprintable() and read_constraint(plain) == constraint:
            return plain
    except PrincipleError:
        pass
    return json.dumps(constraint.to_dict())


def looks_like_constraint(text: str) -> bool:
    """Tell what is meant as a constraint, well written or not, from a sentence."""
    return "{" in text or text.strip().startswith("count(")


def _read_json(text: str) -> Constraint:
    try:
        data = json.loads(text)
        return constraint_from_dict(data)
    except (ValueError, RecursionError) as error:
        raise PrincipleError(f"the constraint begins with a brace but is no JSON that can be read ({error})") from error


def _allowed(text: str) -> Allowed:
    found = _ALLOWED.fullmatch(text.strip())
    if found is None:
        raise _unreadable(text)
    return Allowed(found[1], _names(found[2]))


def _count(text: str) -> Count:
    found = _COUNT.fullmatch(text)
    if found is None or (found[2] == "in") != found[3].startswith("["):
        raise _unreadable(text)
    options, sign = _names(found[1]), found[2]
    numbers = [int(number) for number in re.findall(r"\d+", found[3])]
    if sign == "in":
        return Count(options, *numbers)
    least = 0 if sign == "<=" else numbers[0]
    return Count(options, least, None if sign == ">=" else numbers[0])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _unreadable(text: str) -> PrincipleError:
    return PrincipleError(f"expected a constraint like {EXAMPLES}; got {text.strip()[:80]!r}")
