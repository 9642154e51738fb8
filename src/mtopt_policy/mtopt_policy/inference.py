"""Running a trained Q-network fast: OpenVINO on a CPU, torch on a GPU. Batch normalisation is folded by both."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import openvino
import torch
from torch import nn

from mtopt_policy.action_space import DIMENSIONS, STATE
from mtopt_policy.q_network import QNetwork


class Backend(Protocol):
    """A Q-network, split so that the image is looked at once per decision; shapes as in `QNetwork`, B = 1."""

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature maps of images `(1, V, 3, S, S) float32 in [0, 1]`, valid until the next call."""

    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits `(1, N)` of N actions, on the CPU."""


def backend_for(network: QNetwork, actions: int, threads: int) -> Backend:
    """Return the fastest backend here.

    Args:
        network: The network; it is put into evaluation mode.
        actions: Number of actions per call of `head`.
        threads: CPU threads to use.
    """
    if torch.cuda.is_available():
        return TorchBackend(network, torch.device('cuda'))
    return OpenVinoBackend(network, actions, threads)


class TorchBackend:
    """The network as it is, on a device."""

    def __init__(self, network: QNetwork, device: torch.device):
        self._network = network.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """See `Backend.tower`."""
        return self._network.tower(images.to(self._device))

    @torch.inference_mode()
    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """See `Backend.head`."""
        vectors = (vector.to(self._device) for vector in (actions, state, task))
        return self._network.head(features, *vectors).cpu()


class OpenVinoBackend:
    """The network compiled for this CPU, in bfloat16 where the CPU computes in it.

    Args:
        network: The network; it is put into evaluation mode.
        actions: Number of actions per call of `head`; compiled for exactly that many.
        threads: CPU threads to use.
        precision: OpenVINO's inference precision; by default bf16 where the CPU has it, else f32.
    """

    def __init__(self, network: QNetwork, actions: int, threads: int, precision: str | None = None):
        configuration = network.eval().configuration
        images = torch.rand(1, len(configuration.views), 3, configuration.image_size, configuration.image_size)
        with torch.inference_mode():
            features = network.tower(images)
        vectors = (
            torch.rand(1, actions, DIMENSIONS),
            torch.rand(1, len(STATE)),
            torch.rand(1, configuration.tasks),
        )
        core = openvino.Core()
        self.precision = precision or (
            'bf16' if 'BF16' in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES') else 'f32'
        )
        options = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': self.precision,
            'INFERENCE_NUM_THREADS': threads,
            # Every process would pin its first thread to the same core.
            'ENABLE_CPU_PINNING': False,
        }
        self._tower = _compile(core, _Part(network, 'tower'), (images,), options)
        self._embed = _compile(core, _Part(network, 'embed'), (features, *vectors), options)
        self._score = network.score

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """See `Backend.tower`."""
        return _infer(self._tower, images)

    @torch.inference_mode()
    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """See `Backend.head`."""
        return self._score(_infer(self._embed, features, actions, state, task), task)


class _Part(nn.Module):
    """One method of the network as a module, which is what OpenVINO converts."""

    def __init__(self, network: QNetwork, method: str):
        super().__init__()
        self._network = network
        self._method = method

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return getattr(self._network, self._method)(*inputs)


def _compile(
    core: openvino.Core, part: nn.Module, example: tuple[torch.Tensor, ...], options: dict[str, Any]
) -> openvino.InferRequest:
    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO's converter traces. The maps' sizes become constants, as they should: each model has one size.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        model = openvino.convert_model(part, example_input=example, input=[tensor.shape for tensor in example])
    return core.compile_model(model, 'CPU', options).create_infer_request()


def _infer(request: openvino.InferRequest, *inputs: torch.Tensor) -> torch.Tensor:
    arrays = [tensor.contiguous().numpy() for tensor in inputs]
    (output,) = request.infer(arrays, share_inputs=True, share_outputs=True).values()
    return torch.from_numpy(output)
