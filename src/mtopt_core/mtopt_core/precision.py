"""Where networks are computed, and in which arithmetic."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

# oneDNN keeps what it made for every shape of a batch, unless told otherwise for the last 1024 of them: hundreds of
# megabytes where the number of examples changes from batch to batch, as in training. It reads this before it first
# makes something.
os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', '32')


@dataclass(frozen=True)
class Precision:
    """A device, and whether bfloat16 pays on it.

    Attributes:
        device: Where the networks are.
        bfloat16: Whether matrix products are computed in bfloat16; weights and sums stay float32.
    """

    device: torch.device
    bfloat16: bool

    @classmethod
    def of_this_machine(cls) -> Precision:
        """Return the GPU if there is one, bfloat16 where the hardware has it (emulated, it is slower than float32)."""
        if torch.cuda.is_available():
            return cls(torch.device('cuda'), torch.cuda.is_bf16_supported(including_emulation=False))
        capabilities = torch.cpu.get_capabilities()
        return cls(torch.device('cpu'), any(capabilities.get(name) for name in ('amx_bf16', 'avx512_bf16')))

    def autocast(self) -> torch.autocast:
        """Return the context in which to evaluate a network."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def floats(self, images: torch.Tensor) -> torch.Tensor:
        """Return images `uint8` as `float32 in [0, 1]` on the device, in the same memory order."""
        return images.to(self.device, non_blocking=True).float().div_(255)
