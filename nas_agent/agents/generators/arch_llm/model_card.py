"""The model card of a generator: what it is, what it learned from, how it is used."""

from __future__ import annotations

import json

from nas_agent.agents.generators.arch_llm.language import SequenceModel

KINDS = {
    "vq": "a learned codebook (the folder quantiser)",
    "tokens": "the space's own decisions, the number of the option chosen for each",
}


def model_card(language: SequenceModel) -> str:
    """Write Markdown with the front matter that the Hugging Face hub reads."""
    about, space = language.about, language.about["space"]
    base = (about["settings"]["base"] or {}).get("source", "")
    began = f"`{base}`{', by LoRA' if about['settings']['base']['lora'] else ''}" if base else "random weights"
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

```
nas-agent generator sample --space {space} -n 10 --temperature 0.7 --model FOLDER
```

Limits: it knows structure, not accuracy; what it writes may be no architecture, and is checked when it is read.

Training settings: `{json.dumps(about["settings"])}`, seed {about["seed"]}.
"""
