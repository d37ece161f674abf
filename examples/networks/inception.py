"""Branches of several kernels, joined."""

import torch
from torch import nn


class Inception(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.narrow = nn.Conv2d(channels, width, 1)
        self.middle = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        self.wide = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 5, padding=2))

    def forward(self, x):
        return torch.relu(torch.cat([self.narrow(x), self.middle(x), self.wide(x)], dim=1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.first = Inception(16, 8)
        self.pool = nn.MaxPool2d(2)
        self.second = Inception(24, 16)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = self.pool(self.first(x))
        x = self.second(x)
        x = x.mean(dim=(2, 3))
        return self.fc(self.dropout(x))
