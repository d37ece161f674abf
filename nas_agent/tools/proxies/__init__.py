"""Zero-cost proxies: scores of a network that is not trained, from its weights and at most one batch.

More is hoped to be better. Which of them say anything of accuracy is measured (`benchmarks/proxies.py`,
docs/results/fidelity.md): parameters alone are hard to beat.
"""

from __future__ import annotations

# Name -> what it is and who says so.
PROXIES = {
    "naswot": "log-determinant of how alike the ReLU patterns of images are (Mellor et al., ICML 2021)",
    "synflow": "sum of |weight x gradient| of a network with absolute weights, on ones (Tanaka et al., NeurIPS 2020)",
    "jacov": "how little the input gradients of images correlate (Mellor et al., 2020, first version)",
    "snip": "sum of |weight x gradient| of the loss (Lee et al., ICLR 2019)",
    "grad_norm": "sum of the layers' gradient norms (Abdelfattah et al., ICLR 2021)",
    "l2_norm": "sum of the layers' weight norms (Abdelfattah et al., ICLR 2021)",
    "params": "number of parameters",
    "flops": "multiplications for one image",
}

__all__ = ["PROXIES"]
