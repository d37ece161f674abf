"""A small vision transformer."""

import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x):
        y = self.norm1(x)
        attended, _ = self.attention(y, y, y, need_weights=False)
        x = x + attended
        x = x + self.mlp(self.norm2(x))
        return x


class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 32, kernel_size=2, stride=2)
        self.position = nn.Parameter(torch.zeros(1, 16, 32))
        self.first = Encoder(32, 4, 64)
        self.second = Encoder(32, 4, 64)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.patches(x)
        x = x.flatten(2).transpose(1, 2)
        x = x + self.position
        x = self.first(x)
        x = self.second(x)
        x = self.norm(x).mean(dim=1)
        return self.head(x)
