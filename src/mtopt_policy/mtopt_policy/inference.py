"""Running a trained Q-network fast: OpenVINO on a CPU, torch on a GPU. Batch normalisation is folded by both."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol

import openvino
import openvino.opset13
import torch
from torch import nn

from mtopt_core.batching import Batcher
from mtopt_policy.action_space import DIMENSIONS, STATE
from mtopt_policy.q_network import QNetwork


class Backend(Protocol):
    """A Q-network, split so that the image is looked at once per decision; shapes as in `QNetwork`.

    Policies ask for one decision, B = 1; only `BatchingBackend` asks for more.
    """

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """Return the feature maps of images `(B, V, 3, S, S) float32 in [0, 1]`, valid until the next call."""

    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits `(B, N)` of N actions, on the CPU."""


def backend_for(network: QNetwork, actions: int, threads: int, robots: int = 1) -> Backend:
    """Return the fastest backend here.

    Args:
        network: The network; it is put into evaluation mode.
        actions: Number of actions per call of `head`.
        threads: CPU threads to use.
        robots: Threads that will ask at the same time; their questions are answered in batches.
    """
    if torch.cuda.is_available():
        backend = TorchBackend(network, torch.device('cuda'))
        return backend if robots == 1 else BatchingBackend(dict.fromkeys(range(1, robots + 1), backend))
    if robots == 1:
        return OpenVinoBackend(network, actions, threads)
    # Each size of a batch is compiled for itself; smaller batches are filled up to the next power of two.
    sizes = [2**power for power in range((robots - 1).bit_length() + 1)]
    return BatchingBackend({size: OpenVinoBackend(network, actions, threads, batch=size) for size in sizes})


class BatchingBackend:
    """Answers the policies of several robots together; any thread may ask.

    Args:
        backends: A backend for each size of a batch.
    """

    def __init__(self, backends: Mapping[int, Backend]) -> None:
        self._backends = dict(sorted(backends.items()))
        largest = max(backends)
        self._towers: Batcher[torch.Tensor, torch.Tensor] = Batcher(self._see, largest)
        self._heads: Batcher[tuple[torch.Tensor, ...], torch.Tensor] = Batcher(self._score, largest)

    @property
    def batches(self) -> tuple[int, int]:
        """Questions answered so far, and in how many batches."""
        return self._towers.requests + self._heads.requests, self._towers.batches + self._heads.batches

    def tower(self, images: torch.Tensor) -> torch.Tensor:
        """See `Backend.tower`; the result stays valid."""
        return self._towers.ask(images)

    def head(
        self, features: torch.Tensor, actions: torch.Tensor, state: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """See `Backend.head`."""
        return self._heads.ask((features, actions, state, task))

    def _see(self, images: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        size = self._size(len(images))
        return self._backends[size].tower(_filled(images, size)).clone().split(1)[: len(images)]

    def _score(self, questions: Sequence[tuple[torch.Tensor, ...]]) -> Sequence[torch.Tensor]:
        size = self._size(len(questions))
        features, actions, state, task = (_filled(parts, size) for parts in zip(*questions, strict=True))
        return self._backends[size].head(features, actions, state, task).clone().split(1)[: len(questions)]

    def _size(self, number: int) -> int:
        return next(size for size in self._backends if size >= number)


def _filled(parts: Sequence[torch.Tensor], size: int) -> torch.Tensor:
    """Return tensors `(1, ...)` as one `(size, ...)`; the last is repeated where there are fewer."""
    return torch.cat([*parts, *[parts[-1]] * (size - len(parts))])


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
        batch: Decisions per call, B; compiled for exactly that many.
    """

    def __init__(
        self, network: QNetwork, actions: int, threads: int, precision: str | None = None, batch: int = 1
    ) -> None:
        configuration = network.eval().configuration
        images = torch.rand(batch, len(configuration.views), 3, configuration.image_size, configuration.image_size)
        with torch.inference_mode():
            features = network.tower(images)
        vectors = (
            torch.rand(batch, actions, DIMENSIONS),
            torch.rand(batch, len(STATE)),
            torch.rand(batch, configuration.tasks),
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
    """One method of the network as a module, which is what OpenVINO converts, with its weights as further inputs."""

    def __init__(self, network: QNetwork, method: str):
        super().__init__()
        self.network = network
        self.method = method
        own = {'tower': ('network.towers.',), 'embed': ('network.fusion.', 'network.task_embedding.')}[method]
        self.weights = {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.startswith(own) and tensor.is_floating_point() and '.logit.' not in name
        }

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return getattr(self.network, self.method)(*inputs)


class _Weightless(nn.Module):
    """A part that is given its weights behind its inputs."""

    def __init__(self, part: _Part):
        super().__init__()
        # In a list, so that its weights are not this module's; a copy, for it loses them.
        self._part = [deepcopy(part)]
        self._names = tuple(part.weights)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        inputs = len(tensors) - len(self._names)
        # What torch.func.functional_call does, which refuses to be traced.
        for name, weight in zip(self._names, tensors[inputs:], strict=True):
            path, _, attribute = name.rpartition('.')
            owner = self._part[0].get_submodule(path)
            owner._parameters.pop(attribute, None)
            owner._buffers.pop(attribute, None)
            object.__setattr__(owner, attribute, weight)
        return self._part[0](*tensors[:inputs])


def _compile(
    core: openvino.Core, part: _Part, example: tuple[torch.Tensor, ...], options: dict[str, Any]
) -> openvino.InferRequest:
    model = _template(part, example).clone()
    for parameter, weight in zip(model.get_parameters()[len(example) :], part.weights.values(), strict=True):
        constant = openvino.opset13.constant(weight.detach().numpy().copy())
        for user in parameter.output(0).get_target_inputs():
            user.replace_source_output(constant.output(0))
        model.remove_parameter(parameter)
    return core.compile_model(model, 'CPU', options).create_infer_request()


_TEMPLATES: dict[tuple[Any, ...], openvino.Model] = {}
_CONVERTING = threading.Lock()


def _template(part: _Part, example: tuple[torch.Tensor, ...]) -> openvino.Model:
    """Return a part converted for OpenVINO, once per process, with parameters in place of its weights.

    Converting takes seconds, and torch never gives back the megabytes it traces into: a node that loads a new policy
    every minute would grow all night.
    """
    tensors = *example, *part.weights.values()
    shapes = [tuple(tensor.shape) for tensor in tensors]
    key = part.network.configuration.model_dump_json(), part.method, *shapes[: len(example)]
    with _CONVERTING:
        if key not in _TEMPLATES:
            with torch.no_grad(), warnings.catch_warnings():
                # OpenVINO's converter traces. The maps' sizes become constants, as they should: each has one size.
                warnings.simplefilter('ignore', torch.jit.TracerWarning)
                warnings.simplefilter('ignore', DeprecationWarning)
                _TEMPLATES[key] = openvino.convert_model(_Weightless(part), example_input=tensors, input=shapes)
        return _TEMPLATES[key]


def _infer(request: openvino.InferRequest, *inputs: torch.Tensor) -> torch.Tensor:
    arrays = [tensor.contiguous().numpy() for tensor in inputs]
    (output,) = request.infer(arrays, share_inputs=True, share_outputs=True).values()
    return torch.from_numpy(output)
