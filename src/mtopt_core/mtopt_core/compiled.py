"""Parts of networks, compiled by OpenVINO for this CPU, where it is faster than torch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import openvino
import openvino.opset13
import torch
from torch import nn

_TEMPLATES: dict[tuple[Any, ...], openvino.Model] = {}
_CONVERTING = threading.Lock()


class CompiledPart:
    """One method of a network, in bfloat16 where the CPU computes in it; any thread may call it.

    Attributes:
        precision: OpenVINO's inference precision.
    """

    def __init__(
        self,
        network: nn.Module,
        method: str,
        weights: Sequence[str],
        example: Sequence[torch.Tensor],
        threads: int,
        *,
        key: str,
        precision: str | None = None,
        any_number: bool = False,
        streams: int = 1,
    ) -> None:
        """Compile it.

        Args:
            network: In evaluation mode; what it is given later changes nothing here.
            method: Name of the method, or of a module of the network.
            weights: Prefixes of the weights it uses, as in the network's `state_dict`.
            example: Its inputs, compiled for exactly their shapes.
            threads: CPU threads to use, of all streams together.
            key: Says which network it is, weights apart: conversions are kept by it.
            precision: By default bf16 where the CPU has it, else f32.
            any_number: Compile it for any size of the inputs' first dimension.
            streams: Calls that are answered at the same time; more wait.
        """
        core = openvino.Core()
        self.precision = precision or (
            'bf16' if 'BF16' in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES') else 'f32'
        )
        options = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': self.precision,
            'INFERENCE_NUM_THREADS': threads,
            'NUM_STREAMS': streams,
            # Every process would pin its first thread to the same core.
            'ENABLE_CPU_PINNING': False,
        }
        part = _Part(network, method, weights)
        model = _template(part, tuple(example), key, any_number).clone()
        for parameter, weight in zip(model.get_parameters()[len(example) :], part.weights.values(), strict=True):
            constant = openvino.opset13.constant(weight.detach().cpu().numpy().copy())
            for user in parameter.output(0).get_target_inputs():
                user.replace_source_output(constant.output(0))
            model.remove_parameter(parameter)
        self._compiled = core.compile_model(model, 'CPU', options)
        self._requests = threading.local()

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return what the method returns, valid until this thread's next call."""
        if not hasattr(self._requests, 'own'):
            self._requests.own = self._compiled.create_infer_request()
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        (output,) = self._requests.own.infer(arrays, share_inputs=True, share_outputs=True).values()
        return torch.from_numpy(output)


class _Part(nn.Module):
    """One method of a network as a module, which is what OpenVINO converts, with its weights as further inputs."""

    def __init__(self, network: nn.Module, method: str, weights: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.method = method
        own = tuple(f'network.{prefix}' for prefix in weights)
        self.weights = {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.startswith(own) and tensor.is_floating_point()
        }

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return getattr(self.network, self.method)(*inputs)


class _Weightless(nn.Module):
    """A part that is given its weights behind its inputs."""

    def __init__(self, part: _Part) -> None:
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


def _template(part: _Part, example: tuple[torch.Tensor, ...], key: str, any_number: bool) -> openvino.Model:
    """Return a part converted for OpenVINO, once per process, with parameters in place of its weights.

    Converting takes seconds, and torch never gives back the megabytes it traces into: a node that loads a new version
    every minute would grow all night.
    """
    tensors = *example, *part.weights.values()
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if any_number:
        shapes[: len(example)] = [(-1, *tensor.shape[1:]) for tensor in example]
    whole_key = type(part.network), key, part.method, *shapes[: len(example)]
    with _CONVERTING:
        if whole_key not in _TEMPLATES:
            with torch.no_grad(), warnings.catch_warnings():
                # OpenVINO's converter traces. The maps' sizes become constants, as they should: each has one size.
                warnings.simplefilter('ignore', torch.jit.TracerWarning)
                warnings.simplefilter('ignore', DeprecationWarning)
                _TEMPLATES[whole_key] = openvino.convert_model(_Weightless(part), example_input=tensors, input=shapes)
        return _TEMPLATES[whole_key]
