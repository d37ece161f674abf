"""The report of an archive as one HTML file: a heat map whose niches lead to code, the best one's ancestors, counts.

Nothing is loaded and no script is run: a niche is a link, and what it links to shows itself by `:target`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from nas_agent.cli.wording import number, plural

Json = dict[str, Any]
Points = list[tuple[float, float]]
REASONS = 20  # for which something failed, the most frequent ones
SIDE, LEFT, TOP = 520, 70, 12  # pixels: of the map, and of the room for its labels
# Viridis at five places: dark is low, also in grey print.
COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # what is shown may be a model's words
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse}th,td{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2),.why td:last-child,.why th:last-child{text-align:left}
pre{background:#f6f6f4;padding:.7rem;overflow:auto;font-size:13px}
.map{display:flex;flex-wrap:wrap;gap:1.5rem;align-items:flex-start}.codes{flex:1;min-width:22rem}
.code{display:none;scroll-margin-top:9rem}.code:target{display:block}.codes:has(.code:target) .hint{display:none}
polygon{stroke:#fff;stroke-width:1}a:hover polygon,a:focus polygon{stroke:#c00;stroke-width:3}
.add{color:#116611}.del{color:#aa1111}.at{color:#666}.best polygon{stroke:#c00;stroke-width:2.5}
svg text{font-size:12px;fill:#333}.empty{fill:#eee}
"""


def page(data: Json) -> str:
    """Write the whole report."""
    title = f"{data['task']} on {data['space']}: the best network of each kind"
    unit = data["unit"]
    qd = "" if data["qd_score"] is None else f", QD score {data['qd_score']:,.1f}"
    head = (
        f"{data['filled']} of {data['niches']} niches filled ({100 * data['coverage']:.0f} %){qd}, "
        f"after {plural(data['evaluations'], 'evaluation')}; {data['kind']} archive; run {data['run']}"
    )
    beyond = plural(data["outside"], "network")
    outside = f" Outside the ranges, put at the border: {beyond}." if data["outside"] else ""
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1><p>{escape(head)}.{outside}</p>",
            f'<div class="map">{heat_map(data)}<div class="codes">',
            '<p class="hint">Choose a niche to read its network.</p>',
            *(_code(elite, unit) for elite in data["elites"]),
            "</div></div>",
            "<h2>Over time</h2>",
            curves(data),
            "<h2>By prompt</h2>",
            "<p>Tried: wishes; where a surrogate chooses, without those that it did not choose. Known: the network was",
            "there before. Entered: it took a niche. Improved: better than every parent.</p>",
            _table(data["operators"], ("intent", "by", *COUNTS)),
            "<h2>By operator</h2>",
            _table(data["kinds"], ("operator", "by", *COUNTS)),
            *_failed(data["failures"]),
            "<h2>Most curious prompts</h2>",
            _table(data["prompts"][:10], ("intent", "temperature", "curiosity", "wins")),
            "<h2>How the best came about</h2>",
            *(_step(step, unit) for step in data["lineage"]),
            "</body></html>",
        ]
    )


COUNTS = ("tried", "known", "measured", "trainable", "entered", "improved")


def heat_map(data: Json) -> str:
    """Draw the niches; a filled one is a link to its network."""
    elites = {elite["niche"]: elite for elite in data["elites"]}
    low, high = _scale(data)
    best, on_top = data["lineage"][-1]["id"] if data["lineage"] else None, ""
    parts = [f'<svg width="{SIDE + LEFT + 90}" height="{SIDE + TOP + 50}" role="img" aria-label="heat map">']
    for niche, shape in enumerate(shapes(data)):
        points = " ".join(f"{LEFT + x * SIDE:.1f},{TOP + (1 - y) * SIDE:.1f}" for x, y in shape)
        elite = elites.get(niche)
        if elite is None:
            parts.append(f'<polygon class="empty" points="{points}"><title>empty</title></polygon>')
            continue
        name = f"{number(elite['value'], data['unit'])}, {_measures(data, elite)}, id {elite['id']}"
        colour, kind = _colour(elite["value"], low, high), ' class="best"' if elite["id"] == best else ""
        link = f'<a href="#n{niche}"{kind}><polygon points="{points}" fill="{colour}"><title>{escape(name)}</title>'
        link += "</polygon></a>"
        if elite["id"] == best:
            on_top = link  # no neighbour is drawn over its border
        else:
            parts.append(link)
    clipped = any(elite["value"] < low for elite in data["elites"])
    return "".join(
        [*parts, on_top, *_ticks(data["axes"]), *_legend(low, high, data["unit"], clipped=clipped), "</svg>"]
    )


def _scale(data: Json) -> tuple[float, float]:
    """Return the ends of the colours; the worst tenth shares the darkest, else one failure makes all others alike."""
    values = sorted(elite["value"] for elite in data["elites"]) or [0.0]
    return values[len(values) // 10 if data["qd_score"] is not None else 0], values[-1]


def shapes(data: Json) -> list[Points]:
    """Return each niche as a polygon in the unit square: rectangles of a grid, else the cells of the centres."""
    if data["edges"]:
        xs, ys = data["edges"]
        return [
            [(xs[i], ys[j]), (xs[i + 1], ys[j]), (xs[i + 1], ys[j + 1]), (xs[i], ys[j + 1])]
            for i in range(len(xs) - 1)
            for j in range(len(ys) - 1)
        ]
    return [_cell(place, data["centres"]) for place in range(len(data["centres"]))]


def _cell(place: int, centres: Sequence[Sequence[float]]) -> Points:
    """Cut the unit square at the middle between one centre and each other one."""
    x, y = centres[place]
    cell: Points = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    for other, (u, v) in enumerate(centres):
        if other != place:
            cell = _cut(cell, (u - x, v - y), ((u * u + v * v) - (x * x + y * y)) / 2)
    return cell


def _cut(cell: Points, normal: tuple[float, float], most: float) -> Points:
    """Keep what lies at most so far along the normal."""
    kept: Points = []
    for first, second in zip(cell, [*cell[1:], *cell[:1]], strict=True):
        a, b = (normal[0] * p[0] + normal[1] * p[1] - most for p in (first, second))
        if a <= 0:
            kept.append(first)
        if a * b < 0:
            t = a / (a - b)
            kept.append((first[0] + t * (second[0] - first[0]), first[1] + t * (second[1] - first[1])))
    return kept


def curves(data: Json) -> str:
    """Draw filled niches, QD score and best value over evaluations, each in its own small picture."""
    names = ("niches filled", "QD score", f"best {data['metric']}")
    drawn = []
    for column, name in enumerate(names, start=1):
        points = [(row[0], row[column]) for row in data["curve"] if row[column] is not None]
        if len(points) < 2:
            continue
        width, height = 300, 120
        low, high = min(v for _, v in points), max(v for _, v in points)
        span = (high - low) or 1.0
        last = points[-1][0]
        line = " ".join(f"{n / last * width:.1f},{5 + height - (v - low) / span * height:.1f}" for n, v in points)
        drawn.append(
            f'<svg width="{width + 20}" height="{height + 30}" role="img" aria-label="{escape(name)}">'
            f'<polyline points="{line}" fill="none" stroke="#21918c" stroke-width="2"/>'
            f'<text x="0" y="{height + 24}">{escape(name)}: {low:.5g} to {high:.5g}</text></svg>'
        )
    return "".join(drawn) or "<p>Nothing was measured twice.</p>"


def _colour(value: float, low: float, high: float) -> str:
    place = 0.5 if high <= low else max(0.0, (value - low) / (high - low))
    step = min(int(place * (len(COLOURS) - 1)), len(COLOURS) - 2)
    part = place * (len(COLOURS) - 1) - step
    mixed = (round(a + part * (b - a)) for a, b in zip(COLOURS[step], COLOURS[step + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def short(value: float) -> str:
    """Write a number as people say it: 1.5 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _value(axis: Json, place: float) -> float:
    if not axis["log"]:
        return float(axis["low"] + place * (axis["high"] - axis["low"]))
    return math.exp(math.log(axis["low"]) + place * (math.log(axis["high"]) - math.log(axis["low"])))


def _ticks(axes: Sequence[Json]) -> list[str]:
    parts = []
    for place in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = LEFT + place * SIDE, TOP + (1 - place) * SIDE
        across, up = (short(_value(axis, place)) for axis in axes)
        parts.append(f'<text x="{x:.0f}" y="{TOP + SIDE + 16}" text-anchor="middle">{across}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{up}</text>')
    middle = TOP + SIDE / 2
    names = [axis["name"] + (" (log)" if axis["log"] else "") for axis in axes]
    parts.append(f'<text x="{LEFT + SIDE / 2}" y="{TOP + SIDE + 36}" text-anchor="middle">{escape(names[0])}</text>')
    turned = f'transform="rotate(-90 14 {middle})"'
    parts.append(f'<text x="14" y="{middle}" text-anchor="middle" {turned}>{escape(names[1])}</text>')
    return parts


def _legend(low: float, high: float, unit: str, *, clipped: bool) -> list[str]:
    steps, x = 20, LEFT + SIDE + 14
    bars = [
        f'<rect x="{x}" y="{TOP + (steps - 1 - i) * 8}" width="14" height="8" fill="{_colour(i, 0, steps - 1)}"/>'
        for i in range(steps)
    ]
    top, bottom = number(high, unit), ("≤ " if clipped else "") + number(low, unit)
    return [
        *bars,
        f'<text x="{x + 18}" y="{TOP + 10}">{escape(top)}</text>',
        f'<text x="{x + 18}" y="{TOP + 8 * steps}">{escape(bottom)}</text>',
    ]


def _measures(data: Json, elite: Json) -> str:
    return ", ".join(f"{a['name']} {short(v)}" for a, v in zip(data["axes"], elite["measures"], strict=True))


def _made(told: Json) -> str:
    if told["intent"] is None:
        return str(told["author"])
    parents = ", ".join(told["parents"])
    return f"“{told['intent']}” by {told['by']}, at temperature {told['temperature']:g}, from {parents}"


def _code(elite: Json, unit: str) -> str:
    head = f"{number(elite['value'], unit)}: {elite['id']}, evaluation {elite['evaluation']}"
    return (
        f'<section class="code" id="n{elite["niche"]}"><h3>{escape(head)}</h3><p>{escape(_made(elite))}</p>'
        f"<pre>{escape(elite['code'])}</pre></section>"
    )


def _step(step: Json, unit: str) -> str:
    head = f"{number(step['value'], unit)}, evaluation {step['evaluation']}: {_made(step)}"
    body = step["code"] if step["diff"] is None else step["diff"] or "(the code is the same)"
    lines = [_coloured(line) if step["diff"] else escape(line) for line in body.splitlines()]
    return f"<details open><summary>{escape(head)}</summary><pre>{chr(10).join(lines)}</pre></details>"


def _coloured(line: str) -> str:
    kind = {"+": "add", "-": "del", "@": "at"}.get(line[:1])
    return f'<span class="{kind}">{escape(line)}</span>' if kind else escape(line)


def _failed(rows: Sequence[Json]) -> list[str]:
    if not rows:
        return []
    more = f"<p>and {len(rows) - REASONS} other reasons</p>" if len(rows) > REASONS else ""
    table = _table(rows[:REASONS], ("failed", "by", "count", "why"))
    return ["<h2>What failed</h2>", f'<div class="why">{table}</div>', more]


def _table(rows: Sequence[Json], columns: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = ("".join(f"<td>{escape(_plain(row[column]))}</td>" for column in columns) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
