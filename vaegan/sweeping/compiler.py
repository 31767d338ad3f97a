"""What torch's compiler imports and asks for once in a process, however small the graph; imported ahead of jobs that compile."""

import importlib

import torch._inductor.compile_fx  # noqa: F401
from torch._inductor.codecache import torch_key
from torch._inductor.runtime.triton_compat import HAS_TRITON, triton_key

from vaegan.training.compiled import quieten

# Digests of torch's and Triton's own files, part of the key under which compiled code is kept: half a second.
torch_key()
if HAS_TRITON:
    triton_key()
quieten()
importlib.import_module("torch.utils.cpp_extension")
