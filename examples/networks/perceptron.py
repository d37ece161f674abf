"""Layers by name in one sequence."""

from collections import OrderedDict

from torch import nn


class Perceptron(nn.Module):
    def __init__(self, classes, in_channels):
        super().__init__()
        self.model = nn.Sequential(
            OrderedDict(
                [
                    ("flat", nn.Flatten()),
                    ("fc1", nn.Linear(in_channels * 64, 128)),
                    ("act1", nn.ReLU()),
                    ("fc2", nn.Linear(128, 64)),
                    ("act2", nn.Tanh()),
                    ("out", nn.Linear(64, classes)),
                ]
            )
        )

    def forward(self, x):
        return self.model(x)
