"""What every network of TransNAS-Bench-101 is made of. Its text is the beginning of `best.py`: torch alone."""

import torch
from torch import Tensor, nn


class ReLUConvBN(nn.Sequential):
    """ReLU, a convolution, batch normalisation."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, kernel_size, stride, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(channels_out),
        )


class Skip(nn.Module):
    """A skip from a block's input: the identity, or where the shape changes two shifted 1x1 convolutions."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.same = stride == 1 and channels_in == channels_out
        if not self.same:
            half = channels_out // 2
            self.even = nn.Conv2d(channels_in, half, 1, stride, bias=False)
            self.odd = nn.Conv2d(channels_in, channels_out - half, 1, stride, bias=False)
            self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Pass on, or convolve both halves."""
        if self.same:
            return x
        x = torch.relu(x)
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        joined: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return joined


class Zero(nn.Module):
    """Nothing, in the shape of a block's output."""

    def __init__(self, channels_out: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels_out, stride

    def forward(self, x: Tensor) -> Tensor:
        """Give zeros."""
        height, width = (-(-side // self.stride) for side in x.shape[2:])
        return x.new_zeros(x.shape[0], self.channels, height, width)


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ReLUConvBN(channels_in, channels_out, 3, stride), ReLUConvBN(channels_out, channels_out, 3)
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions make to the input."""
        result: Tensor = self.body(x) + self.shortcut(x)
        return result


class Classifier(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes): a stem that quarters the sides, an encoder, a head."""

    def __init__(self, encoder: nn.Module, features: int, classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            ReLUConvBN(width // 2, width, 3, 2),
        )
        self.encoder = encoder
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify a batch."""
        logits: Tensor = self.head(self.encoder(self.stem(images)))
        return logits
