"""The model card of a generator: what it is, what it learned from, how it is used, how good its draws are."""

from __future__ import annotations

import json
from collections.abc import Mapping

from nas_agent.agents.generators.arch_llm.language import SequenceModel
from nas_agent.records import Json

KINDS = {
    "vq": "a learned codebook (the folder quantiser)",
    "tokens": "the space's own decisions, the number of the option chosen for each",
}


def model_card(language: SequenceModel, quantiser: Json | None, measured: Mapping[str, str]) -> str:
    """Write Markdown with the front matter that the Hugging Face hub reads.

    `quantiser` is what the training of the codebook measured, None without one; `measured` what draws were like.
    """
    about, space = language.about, language.about["space"]
    base = (about["settings"]["base"] or {}).get("source", "")
    began = f"`{base}`{', by LoRA' if about['settings']['base']['lora'] else ''}" if base else "random weights"
    figures = "".join(f"- {name}: {value}.\n" for name, value in {**_quantised(quantiser), **measured}.items())
    return f"""---
library_name: transformers
tags: [neural-architecture-search]
---

# Generator of {space} architectures

Writes sequences of {language.length} codes out of {language.codes}; a sequence means an architecture. Method: Arch-LLM
(arXiv 2503.22063). Made by nas-agent.

- Codes: {KINDS[about["kind"]]}.
- Language model: {language.parameters:,} weights, began with {began}; {language.model.config.model_type}.
- Learned from: {about["architectures"]:,} architectures of {space}, drawn with seed {about["draw_seed"]}.
- Prompts: `generate`, and `fill:` with a partial sequence. Only code tokens may follow.
{figures}
```
nas-agent generator sample --space {space} -n 10 --temperature 0.7 --model FOLDER
```

Limits: it knows structure, not accuracy; what it writes may be no architecture, and is checked when it is read.

Training settings: `{json.dumps(about["settings"])}`, seed {about["seed"]}.
"""


def _quantised(about: Json | None) -> dict[str, str]:
    if about is None:
        return {}
    found = {"Codes in use": f"{about['codes used']}, perplexity {about['perplexity']:.1f}"}
    if about["held out"]:
        share = f"{100 * about['held-out reconstruction']:.2f} %"
        found["Reconstruction"] = f"{share} of {about['held out']:,} graphs that were held out come back whole"
    return found
