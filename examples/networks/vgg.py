"""VGG by a list of widths: the layers are made in a loop."""

import torch
from torch import nn

WIDTHS = [16, 16, "pool", 32, 32, "pool", 64]


class VGG(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        layers = []
        channels = 1
        for width in WIDTHS:
            if width == "pool":
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            else:
                layers += [
                    nn.Conv2d(channels, width, kernel_size=3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)
