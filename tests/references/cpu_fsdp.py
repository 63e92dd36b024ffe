"""FSDP without a GPU: torch's own code over gloo, with streams and events that do nothing.

torch's FSDP asks for an accelerator, for its streams; on a CPU everything is in order anyway. This
is for one test, and bound to the insides of torch and Lightning.
"""

import contextlib

import lightning.pytorch.strategies.fsdp as of_lightning
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch.distributed.fsdp import FullyShardedDataParallel, _common_utils
from torch.distributed.fsdp import fully_sharded_data_parallel as of_torch
from torch.distributed.fsdp.api import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    StateDictType,
)


class Nothing:
    """A stream or an event: nothing to wait for."""

    device = torch.device("cpu")

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


class Backend:
    Stream = Event = Nothing

    def stream(self, stream):
        return contextlib.nullcontext()

    def current_stream(self, *args):
        return Nothing()

    def current_device(self):
        return torch.device("cpu")

    def __getattr__(self, name):
        return getattr(torch.cpu, name)


def _init_device_handle(state, module, ignored, device_id):
    state._device_handle = _common_utils._FSDPDeviceHandle(torch.device("cpu"), Backend())
    return state


def _full_state(module, world_size, rank0_only=True):
    # "Offloaded to the CPU" it would be the memory that FSDP frees behind it.
    kept = {"offload_to_cpu": False, "rank0_only": False}
    return FullyShardedDataParallel.state_dict_type(
        module=module,
        state_dict_type=StateDictType.FULL_STATE_DICT,
        state_dict_config=FullStateDictConfig(**kept),
        optim_state_dict_config=FullOptimStateDictConfig(**kept),
    )


of_torch._init_device_handle = _init_device_handle
of_lightning._get_full_state_dict_context = _full_state
torch.Tensor.record_stream = lambda self, stream: None


class CPUFSDP(FSDPStrategy):
    """Lightning refuses FSDP itself on a CPU, but not what is made from it."""
