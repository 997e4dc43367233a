"""Be the small network that finds the toys of `test://scene`, decoding included."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_HEIGHT, INPUT_WIDTH = 256, 320
STRIDES = (8, 16)


class _Conv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class _Block(nn.Module):
    """Half the channels through two convolutions and past them: YOLOv8's C2f with one turn."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = self.half = outputs // 2
        self.enter = _Conv(inputs, outputs, 1)
        self.turn = nn.Sequential(_Conv(half, half), _Conv(half, half))
        self.leave = _Conv(outputs + half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        # `chunk` would export the halves as arithmetic on shapes, which OpenCV 4.6 cannot read.
        first, second = entered[:, : self.half], entered[:, self.half :]
        return self.leave(torch.cat((first, second, second + self.turn(second)), 1))


class _Head(nn.Module):
    def __init__(self, inputs: int, classes: int, hidden: int = 32) -> None:
        super().__init__()
        self.box = nn.Sequential(_Conv(inputs, hidden), nn.Conv2d(hidden, 4, 1))
        self.score = nn.Sequential(_Conv(inputs, hidden), nn.Conv2d(hidden, classes, 1))
        # Start out sure that nothing is anywhere, or the first steps only unlearn 1280 toys.
        nn.init.constant_(self.score[1].bias, -4.6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.box(x), self.score(x)), 1)


class SceneNetwork(nn.Module):
    """Return raw predictions (batch, 4 + classes, cells) in training, decoded ones for export."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.eighth = nn.Sequential(
            _Conv(3, 16, 3, 2), _Conv(16, 32, 3, 2), _Conv(32, 48, 3, 2), _Block(48, 48)
        )
        self.sixteenth = nn.Sequential(_Conv(48, 64, 3, 2), _Block(64, 64))
        self.wide = nn.Sequential(_Conv(64, 56, 3, 2), _Block(56, 56))
        self.blur = nn.MaxPool2d(5, 1, 2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.join_sixteenth = _Block(64 + 56, 48)
        self.join_eighth = _Block(48 + 48, 40)
        self.heads = nn.ModuleList([_Head(40, classes), _Head(48, classes)])
        cells, scales = make_cells()
        self.register_buffer("cells", cells, persistent=False)
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the raw predictions."""
        eighth = self.eighth(images)
        sixteenth = self.sixteenth(eighth)
        wide = self.wide(sixteenth)
        wide = wide + self.blur(wide)
        sixteenth = self.join_sixteenth(torch.cat((self.up(wide), sixteenth), 1))
        eighth = self.join_eighth(torch.cat((self.up(sixteenth), eighth), 1))
        levels = zip(self.heads, (eighth, sixteenth), strict=True)
        rows = 4 + self.classes
        # The batch size is written out: a -1 for it becomes a dynamic shape in the export.
        return torch.cat(
            [
                head(level).reshape(images.shape[0], rows, level.shape[2] * level.shape[3])
                for head, level in levels
            ],
            2,
        )

    def decode(self, raw: Tensor) -> Tensor:
        """Return cx, cy, w, h in pixels of the input and class probabilities."""
        middle = (raw[:, 0:2] + self.cells) * self.scales
        size = torch.exp(raw[:, 2:4]) * self.scales
        return torch.cat((middle, size, torch.sigmoid(raw[:, 4:])), 1)


class Exported(nn.Module):
    """Take RGB pixels of 0 to 1 and return decoded boxes: YOLOv8's interface."""

    def __init__(self, network: SceneNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return decoded boxes."""
        return self.network.decode(self.network(images))


def make_cells() -> tuple[Tensor, Tensor]:
    """Return the middle of each grid cell in units of its stride, and each cell's stride."""
    cells, scales = [], []
    for stride in STRIDES:
        rows, columns = INPUT_HEIGHT // stride, INPUT_WIDTH // stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells.append(torch.stack((x.flatten(), y.flatten())).float() + 0.5)
        # One for x and one for y, though they are equal: OpenCV 4.6 does not broadcast constants.
        scales.append(torch.full((2, rows * columns), float(stride)))
    return torch.cat(cells, 1)[None], torch.cat(scales, 1)[None]
