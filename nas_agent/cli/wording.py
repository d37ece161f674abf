"""How numbers are written for people; JSON has them unrounded."""

from __future__ import annotations

from nas_agent.wording import plural as plural

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*%#"


def number(value: float | None, unit: str) -> str:
    """Write a value of the task's metric: percent with two decimals, anything else with five digits."""
    if value is None:
        return "-"
    if unit == "%":
        return f"{value:.2f} %"
    return f"{value:.5g} {unit}".rstrip()


def signed(value: float | None, unit: str = "") -> str:
    """Write a difference."""
    if value is None:
        return "-"
    return f"{value:+.2f} {unit}".rstrip() if unit in {"%", ""} else f"{value:+.4g} {unit}"


def duration(seconds: float) -> str:
    """Write a time span in the two largest units that matter."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{seconds / 86400:,.1f} days"


def sparkline(values: list[float | None], width: int, *, rising: bool = True, unicode: bool = True) -> str:
    """Draw a best-so-far curve in one line; the first tenth does not stretch the scale."""
    bars = BARS if unicode else ASCII_BARS
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    known = [value for value in values if value is not None]
    if not known:
        return ""
    sign = 1.0 if rising else -1.0
    floor = sign * known[min(len(known) - 1, len(known) // 10)]
    span = sign * known[-1] - floor
    drawn = ""
    for value in values:
        if value is None:
            drawn += " "
            continue
        height = 0.5 if span <= 0 else (sign * value - floor) / span
        drawn += bars[max(0, min(len(bars) - 1, int(height * (len(bars) - 1) + 1e-9)))]
    return drawn
