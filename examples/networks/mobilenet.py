"""Depthwise separable convolutions with squeeze and excitation."""

import torch
from torch import nn


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction=4):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        weights = x.mean((2, 3))
        weights = torch.sigmoid(self.fc2(torch.relu(self.fc1(weights))))
        return x * weights[:, :, None, None]


class Separable(nn.Module):
    def __init__(self, channels, out_channels, stride=1):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.attend = SqueezeExcite(out_channels)
        self.act = nn.Hardswish()

    def forward(self, x):
        x = self.act(self.norm1(self.depthwise(x)))
        x = self.norm2(self.pointwise(x))
        return self.attend(x)


class MobileNet(nn.Module):
    def __init__(self, in_channels=1, num_classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.blocks = nn.ModuleList([Separable(16, 24), Separable(24, 32, stride=2), Separable(32, 32)])
        self.head = nn.Linear(32, num_classes)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(x)
