"""An LSTM that reads the rows of an image."""

from torch import nn


class RowReader(nn.Module):
    def __init__(self, num_classes=10, hidden=64):
        super().__init__()
        self.lstm = nn.LSTM(input_size=8, hidden_size=hidden, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Sequential(nn.Linear(2 * hidden, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, num_classes))

    def forward(self, x):
        rows = x.squeeze(1)
        out, (h, c) = self.lstm(rows)
        return self.fc(out[:, -1, :])
