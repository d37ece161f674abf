"""The cells of DARTS: what an edge may do, which cells are the same network, how large the network is.

A cell reads the outputs of the cell before last (0) and of the last cell (1). Each of its four nodes, 2 to 5, adds up
two pairs (input, operation); the cell's output are the four nodes side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas_agent.spaces.cell_graph import Operation

Pair = tuple[int, str]  # (input, operation)
Node = tuple[Pair, Pair]
Cell = tuple[Node, ...]

NONE = "none"
# The benchmark files' order. A separable convolution is two depthwise and two pointwise ones, hence its reach.
OPERATIONS = (
    Operation(NONE, "zero"),
    Operation("max_pool_3x3", "pool", kernel=3),
    Operation("avg_pool_3x3", "pool", kernel=3),
    Operation("skip_connect", "identity", kernel=1),
    Operation("sep_conv_3x3", "conv", kernel=5, cost=2.0),
    Operation("sep_conv_5x5", "conv", kernel=9, cost=2.0),
    Operation("dil_conv_3x3", "conv", kernel=5, cost=1.0),
    Operation("dil_conv_5x5", "conv", kernel=9, cost=1.0),
)
NAMES = tuple(operation.name for operation in OPERATIONS)
NODES = (2, 3, 4, 5)
# Operation -> (how many depthwise-pointwise pairs, side of the depthwise kernel).
SEPARABLE = {"sep_conv_3x3": (2, 3), "sep_conv_5x5": (2, 5), "dil_conv_3x3": (1, 3), "dil_conv_5x5": (1, 5)}

# The network whose size is stated: that in which DARTS trains a found cell on CIFAR-10.
PUBLISHED_CELLS = 20
PUBLISHED_WIDTH = 36
_Key = tuple[tuple[int, int], ...]
_RANK = {name: rank for rank, name in enumerate(NAMES)}
_DEAD: Pair = (0, NONE)


def canonical_cell(cell: Cell) -> Cell:
    """Return the one spelling of the cell that stands for all that mean the same.

    The order of a node's pairs and the numbers of the nodes mean nothing, nor does where `none` reads; what reads a
    node that is zero is zero. Among the spellings left, the first in alphabetical order of the nodes: one number
    after the other goes to the node that sorts first among those whose inputs are numbered, all ties being followed.
    """
    nodes = dict(zip(NODES, _without_zero(cell), strict=True))
    # New numbers of the nodes so far, and their pairs (input's new number, operation's place in NAMES).
    partial: list[tuple[dict[int, int], tuple[_Key, ...]]] = [({0: 0, 1: 1}, ())]
    for number in NODES:
        first: _Key | None = None
        kept: list[tuple[dict[int, int], tuple[_Key, ...]]] = []
        for numbers, done in partial:
            for node, pairs in nodes.items():
                if node in numbers or not all(start in numbers for start, _ in pairs):
                    continue
                key = tuple(sorted((numbers[start], _RANK[operation]) for start, operation in pairs))
                if first is None or key < first:
                    first, kept = key, []
                if key == first:
                    kept.append(({**numbers, node: number}, (*done, key)))
        partial = kept
    return _nodes([(start, NAMES[operation]) for pairs in partial[0][1] for start, operation in pairs])


def _without_zero(cell: Cell) -> Iterator[Node]:
    zero: set[int] = set()
    for number, (first, second) in zip(NODES, cell, strict=True):
        first, second = (
            _DEAD if operation == NONE or start in zero else (start, operation) for start, operation in (first, second)
        )
        if first == second == _DEAD:
            zero.add(number)
        yield first, second


def cell_inputs(cell: Cell) -> set[int]:
    """Which of the two cell inputs anything reads."""
    return {start for node in cell for start, operation in node if operation != NONE and start < NODES[0]}


def is_reduction(index: int, cells: int) -> bool:
    """Tell whether the network has a reduction cell at this place: at one third and two thirds of its depth."""
    return index in (cells // 3, 2 * cells // 3)


def network_size(
    normal: Cell, reduction: Cell, *, cells: int, width: int, classes: int = 10, in_channels: int = 3, side: int = 32
) -> tuple[int, int]:
    """Count the weights of the network of canonical cells, and its multiplications for one image.

    Batch normalisation has weights and no multiplications; the auxiliary classifier of training is left out, and so
    is the 1x1 convolution of a cell input that nothing reads.
    """
    stem = 3 * width
    weights, products = (9 * in_channels + 2) * stem, 9 * in_channels * stem * side**2
    channels, before_last, last = width, stem, stem
    counted: dict[tuple[bool, int], tuple[int, int]] = {}  # most cells of a network are alike
    for index in range(cells):
        reduces = is_reduction(index, cells)
        cell = reduction if reduces else normal
        channels *= 2 if reduces else 1
        for start in cell_inputs(cell):  # at the resolution that the cell reads
            arriving = before_last if start == 0 else last
            weights += (arriving + 2) * channels
            products += arriving * channels * side**2
        side = (side + 1) // 2 if reduces else side
        if (reduces, channels) not in counted:
            counted[reduces, channels] = _cell_weights(cell, channels, reduces=reduces)
        convolutions, normalisations = counted[reduces, channels]
        weights += convolutions + normalisations
        products += convolutions * side**2
        before_last, last = last, len(NODES) * channels
    return weights + (last + 1) * classes, products + last * classes


def _cell_weights(cell: Cell, channels: int, *, reduces: bool) -> tuple[int, int]:
    """Weights of the convolutions and of the batch normalisations on the edges."""
    convolutions = normalisations = 0
    for start, operation in (pair for node in cell for pair in node):
        if operation in SEPARABLE:
            times, kernel = SEPARABLE[operation]
            convolutions += times * (kernel**2 + channels) * channels
            normalisations += times * 2 * channels
        elif operation == "skip_connect" and reduces and start < NODES[0]:  # halves the resolution by 1x1 convolutions
            convolutions += channels**2
            normalisations += 2 * channels
    return convolutions, normalisations


def to_cell(options: Sequence[str]) -> Cell:
    """Read sixteen options, input and operation by turns."""
    return _nodes([(int(options[k]), options[k + 1]) for k in range(0, len(options), 2)])


def to_options(cell: Cell) -> tuple[str, ...]:
    """The inverse of `to_cell`."""
    return tuple(text for node in cell for start, operation in node for text in (str(start), operation))


def _nodes(pairs: Sequence[Pair]) -> Cell:
    return tuple(zip(pairs[::2], pairs[1::2], strict=True))
