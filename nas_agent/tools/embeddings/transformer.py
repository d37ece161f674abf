"""Any Hugging Face encoder or decoder in this process as an embedder; of an encoder-decoder, the encoder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nas_agent import hub
from nas_agent.errors import ModelError
from nas_agent.tools.embeddings.base import EmbeddingOptions, Vectors, check_finite
from nas_agent.tools.embeddings.loading import Description, describe, load, number_format, told
from nas_agent.tools.embeddings.pooling import pool

BATCH = 32  # texts at a time where the device is no CPU

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as the model reads it; tokens `first` to `last` - 1 are pooled."""

    ids: list[int]
    first: int
    last: int
    cut: bool  # the text's end was dropped


class TransformerEmbedder:
    """Reads texts with a frozen model. Small files are read for `name` or `dimension`, weights by the first `embed`.

    On a CPU every text is read alone, by one thread of torch's (which are all used, each for another text). That
    makes a vector independent of its company to the last bit, needs no padding, and is as fast as batches there
    (benchmarks/embedding.py). Elsewhere texts of about one length share a batch.
    """

    counts = False

    def __init__(self, spec: str, options: EmbeddingOptions | None = None, *, random: bool = False) -> None:
        self._spec = spec
        self._options = options = options or EmbeddingOptions()
        self._random = options.seed if random else None
        self.truncated: set[str] = set()

    @property
    def name(self) -> str:
        """Weights, pooling, limit, and the number format where it is not float32."""
        weights = "" if self._random is None else f"random-{self._random}:"
        model, dtype = self._description, self._dtype
        name = f"{weights}{model.label}/{model.pooling}/{model.max_tokens}"
        return name if dtype == "float32" else f"{name}/{dtype}"

    @property
    def dimension(self) -> int:
        """The model's width; times the number of layers read with pooling every-K."""
        return self._description.dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, dimension); ModelError where the model cannot be loaded or gives no numbers."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        distinct = list(dict.fromkeys(texts))
        tokenizer, network = self._load()
        tokens = self._tokenise(tokenizer, distinct)
        vectors = np.zeros((len(distinct), self.dimension), np.float32)
        pad = tokenizer.pad_token_id or 0
        with told(self._spec, "gave no embedding"):
            for places, rows in self._read(network, tokens, pad):
                vectors[places] = rows
        check_finite(vectors, distinct, self.name)
        row = {text: number for number, text in enumerate(distinct)}
        return vectors[[row[text] for text in texts]]

    # -- the model ----------------------------------------------------------------------------------------

    @cached_property
    def _description(self) -> Description:
        return describe(self._spec, self._options)

    @cached_property
    def _device(self) -> str:
        return hub.choose_device(f"--embedder {self._spec}", self._options.device, "device auto")

    @cached_property
    def _dtype(self) -> str:
        return number_format(self._spec, self._options.dtype, self._device)

    def _load(self) -> tuple[Any, Any]:
        return load(self._spec, self._description, self._device, self._dtype, self._random)

    # -- tokens -------------------------------------------------------------------------------------------

    def _tokenise(self, tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
        """Turn texts into tokens, at most `max_tokens` of them, with the model's marks at both ends."""
        model = self._description
        with told(self._spec, "has a tokenizer that cannot be used"):
            probe = tokenizer("x", return_special_tokens_mask=True)["special_tokens_mask"]
            head = probe.index(0)
            tail = probe[::-1].index(0)
            copies = 2 if model.pooling == "echo" else 1
            room = (model.max_tokens - head - tail) // copies
            if room < 1:
                raise ModelError(f"{self._spec}: {model.max_tokens} tokens leave no room for a text")
            # One by one: the tokenizer's own threads would make it complain at every later fork.
            read = [tokenizer(model.prefix + text, verbose=False)["input_ids"] for text in texts]
        tokens = [_layout(ids, head, tail, room, copies) for ids in read]
        for text, one in zip(texts, tokens, strict=True):
            if one.last <= one.first:
                raise ModelError(f"{self._spec} has no token for the text {text!r}; nothing can be embedded")
        cut = {text for text, one in zip(texts, tokens, strict=True) if one.cut}
        first = bool(cut) and not self.truncated
        self.truncated |= cut
        if first:  # once; `truncated` has them all
            limit = f"{model.max_tokens} tokens" + (" (text twice, by echo)" if copies == 2 else "")
            log.warning("%d of %d texts are longer than %s; their ends are not embedded", len(cut), len(texts), limit)
        return tokens

    # -- vectors ------------------------------------------------------------------------------------------

    def _read(self, network: Any, tokens: Sequence[Tokens], pad: int) -> Iterator[tuple[list[int], Vectors]]:
        """Yield places and vectors, batch by batch."""
        import torch

        alike = self._device == "cpu"
        size = self._options.batch or (1 if alike else BATCH)
        batches = batched([len(one.ids) for one in tokens], size, alike=alike)

        def read(places: list[int]) -> tuple[list[int], Vectors]:
            with torch.inference_mode():
                return places, self._forward(network, [tokens[place] for place in places], pad)

        if not alike:
            yield from map(read, batches)
            return
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool_of_threads:
                yield from pool_of_threads.map(read, batches)
        finally:
            torch.set_num_threads(threads)  # a thread's choice is also the default of all later ones

    def _forward(self, network: Any, tokens: Sequence[Tokens], pad: int) -> Vectors:
        import torch

        model = self._description
        longest = max(len(one.ids) for one in tokens)
        ids = torch.tensor([one.ids + [pad] * (longest - len(one.ids)) for one in tokens], device=self._device)
        mask = torch.tensor(
            [[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in tokens], device=self._device
        )
        last_only = model.pooling in {"mean", "echo", "last-token", "cls"}
        out = network(input_ids=ids, attention_mask=mask, output_hidden_states=not last_only)
        states = [out.last_hidden_state] if last_only else [out.hidden_states[layer] for layer in model.layers]
        vectors = torch.stack(
            [
                pool(model.pooling, [layer[row] for layer in states], one.first, one.last)
                for row, one in enumerate(tokens)
            ]
        )
        if model.normalise:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        result: Vectors = vectors.cpu().numpy()
        return result


def batched(lengths: Sequence[int], size: int, *, alike: bool) -> list[list[int]]:
    """Return places in batches, longest first; in a batch lengths are near, or with `alike` the same."""
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    batches: list[list[int]] = []
    for place in order:
        fits = batches and len(batches[-1]) < size and (not alike or lengths[batches[-1][0]] == lengths[place])
        if fits:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def _layout(ids: list[int], head: int, tail: int, room: int, copies: int) -> Tokens:
    """Cut the text to `room` tokens, put it `copies` times between the marks, and say which part is pooled.

    A text that is read once is pooled with its marks, as sentence models are; of an echo, the second copy.
    """
    end = len(ids) - tail
    body = ids[head:end]
    kept = body[:room]
    whole = [*ids[:head], *(kept * copies), *ids[end:]]
    if copies == 1:
        return Tokens(whole, 0, len(whole), len(kept) < len(body))
    first = head + len(kept)
    return Tokens(whole, first, first + len(kept), len(kept) < len(body))
