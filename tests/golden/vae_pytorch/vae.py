"""VAE: a variational autoencoder (Kingma and Welling 2013) of small images.

Verified with torch 2.13.0.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Encoder(nn.Module):
    """Images to the mean and the logarithm of the variance of a code.

    image (B, 1, H, W) -> mean (B, latent), log_variance (B, latent).
    """

    def __init__(self, H: int, W: int, latent: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.mean = nn.Linear(2 * width * ((H + 3) // 4) * ((W + 3) // 4), latent)
        self.log_variance = nn.Linear(2 * width * ((H + 3) // 4) * ((W + 3) // 4), latent)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.conv2(torch.relu(self.conv1(image)))).flatten(1)
        return self.mean(h), self.log_variance(h)


class Decoder(nn.Module):
    """Codes to the logits of images: code (B, K) -> logits (B, 1, size, size)."""

    def __init__(self, K: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.width = width
        self.linear = nn.Linear(K, 2 * width * (size // 4) ** 2)
        self.conv_transpose1 = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.conv_transpose2 = nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        h = self.linear(code)
        h = torch.relu(h).unflatten(1, (2 * self.width, self.size // 4, self.size // 4))
        h = torch.relu(self.conv_transpose1(h))
        return self.conv_transpose2(h)


class VAE(nn.Module):
    """Image (B, 1, size, size) -> picture (B, 1, size, size), loss ()."""

    def __init__(self, size: int = 28, latent: int = 16, width: int = 32) -> None:
        super().__init__()
        if size % 4 != 0:
            raise ValueError("sides that halve evenly twice")
        self.latent = latent
        self.encoder = Encoder(size, size, latent, width)
        self.decoder = Decoder(latent, size, width)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(image)
        epsilon = torch.randn(image.shape[0], self.latent, device=image.device)
        code = mean + epsilon * torch.exp(0.5 * log_variance)
        logits = self.decoder(code)
        picture = torch.sigmoid(logits)
        missed = F.binary_cross_entropy_with_logits(logits, image, reduction="none")
        missed = missed.sum(dim=(1, 2, 3))
        away = 0.5 * (mean**2 + torch.exp(log_variance) - log_variance - 1.0).sum(dim=-1)
        return picture, (missed + away).mean()


def build(weights: str | Path | None = None, **config: int) -> VAE:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = VAE(**config)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model
