"""Reads a Sentence-Transformers directory or an ONNX file with its companions: which files, pooling, prefixes, window."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ragstone.domain.errors import InvalidInput, NotFound

MANIFEST = "ragstone-model.json"  # written by the model store beside the files that it fetched
_CONFIG_LIMIT = 1 << 20  # bytes; configuration files are a few hundred
_POOLING_KEYS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_QUERY_PROMPTS = ("query",)
_PASSAGE_PROMPTS = ("document", "passage", "corpus")  # the names that sentence-transformers looks for, in its order


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """An encoder on disk. `pooling` is None when the directory does not say (an ONNX file that pools itself needs none).

    `window` is what the model's own files say, None when they do not; `revision` is the hub's commit, or a hash of the small files.
    """

    name: str
    revision: str
    weights: Path
    kind: Literal["safetensors", "onnx"]
    tokenizer: Path
    config: Mapping[str, object]
    pooling: Literal["mean", "cls"] | None
    window: int | None
    lower_case: bool
    query_prefix: str
    passage_prefix: str


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """A model's tokenizer on disk, and what the files beside it say; `window` is None when they do not say, the prefixes are empty then."""

    tokenizer: Path
    window: int | None
    lower_case: bool
    query_prefix: str
    passage_prefix: str


def read_encoder(path: Path) -> EncoderFiles:
    """Reads a model directory, or an .onnx file (its companions lie beside it or one directory above, as exporters put them).

    Raises `NotFound` when there is nothing at `path`, `InvalidInput` saying which file is missing or what is not supported.
    """
    if path.is_dir():
        root, weights = path, _weights_in(path)
    elif path.is_file() and path.suffix == ".onnx":
        root, weights = (path.parent if (path.parent / "tokenizer.json").is_file() else path.parent.parent), path
    elif path.is_file():
        raise InvalidInput(f"{path.name} is neither a model directory nor an .onnx file.", field="model")
    else:
        raise NotFound(f"There is no model directory or ONNX file {str(path)!r}.", field="model")
    modules = _modules(root)
    encoder = root / modules.get("Transformer", "")
    if path.is_dir() and encoder != root:
        weights = _weights_in(encoder)
    tokenizer = _tokenizer_in(encoder, root)
    if tokenizer is None:
        raise InvalidInput(f"The model {path.name!r} has no tokenizer.json.", field="model")
    config = _json(encoder / "config.json") or {}
    if not config and weights.suffix == ".safetensors":
        raise InvalidInput(f"The model {path.name!r} has no config.json.", field="model")
    prompts = _json(root / "config_sentence_transformers.json") or {}
    if "Normalize" not in modules and prompts.get("similarity_fn_name") not in (None, "cosine"):
        raise InvalidInput(
            f"The model is made for {prompts['similarity_fn_name']!r} similarity; vectors here are compared by cosine.", field="model"
        )
    transformer = _transformer_settings(encoder)
    manifest = _json(root / MANIFEST) or {}
    query, passage = _prefixes(prompts)
    pooling, include_prompt = _pooling(root, modules)
    query, passage = _text(manifest, "query_prefix") or query, _text(manifest, "passage_prefix") or passage
    if (query or passage) and not include_prompt:
        raise InvalidInput(
            "1_Pooling/config.json: leaving the prompt out of pooling (include_prompt false) is not supported.", field="model"
        )
    return EncoderFiles(
        name=_text(manifest, "name") or (path.name if path.is_dir() else path.stem),
        revision=_text(manifest, "revision") or _small_files_hash(root, encoder, tokenizer),
        weights=weights,
        kind="safetensors" if weights.suffix == ".safetensors" else "onnx",
        tokenizer=tokenizer,
        config=config,
        pooling=pooling,
        window=_window(transformer, encoder, config),
        lower_case=transformer.get("do_lower_case") is True,
        query_prefix=query,
        passage_prefix=passage,
    )


def read_tokenizer(path: Path) -> TokenizerFiles:
    """Reads what says how texts become tokens in a model directory, which needs no weights, or beside a tokenizer.json.

    Raises `NotFound` when there is nothing at `path`, `InvalidInput` saying which file is missing.
    """
    root = path.parent if path.is_file() and path.name == "tokenizer.json" else path
    if not root.is_dir():
        raise NotFound(f"There is no directory named {path.name!r} that a tokenizer.json could be in.", field="embedder.tokenizer")
    encoder = root / _modules(root).get("Transformer", "")
    tokenizer = _tokenizer_in(encoder, root)
    if tokenizer is None:
        raise InvalidInput(f"The directory {root.name!r} has no tokenizer.json.", field="embedder.tokenizer")
    transformer = _transformer_settings(encoder)
    query, passage = _prefixes(_json(root / "config_sentence_transformers.json") or {})
    manifest = _json(root / MANIFEST) or {}
    return TokenizerFiles(
        tokenizer=tokenizer,
        window=_window(transformer, encoder, _json(encoder / "config.json") or {}),
        lower_case=transformer.get("do_lower_case") is True,
        query_prefix=_text(manifest, "query_prefix") or query,
        passage_prefix=_text(manifest, "passage_prefix") or passage,
    )


def check_manifest(path: Path) -> None:
    """Compares a model's files with the digests that its ragstone-model.json holds; there need be none.

    Raises `InvalidInput` naming the first file that is missing or another one.
    """
    root = path if path.is_dir() else path.parent
    listed = (_json(root / MANIFEST) or {}).get("files")
    for name, digest in sorted(listed.items()) if isinstance(listed, dict) else ():
        file = (root / name).resolve()
        if not file.is_relative_to(root.resolve()):
            raise InvalidInput(f"{MANIFEST}: the file {name!r} leaves the model directory.", field="model")
        if not file.is_file():
            raise InvalidInput(f"The model {root.name!r} lacks {name}, which {MANIFEST} lists; fetch the model again.", field="model")
        if file_digest(file) != digest:
            raise InvalidInput(
                f"{name} of the model {root.name!r} is not the file that {MANIFEST} lists; fetch the model again.", field="model"
            )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tokenizer_in(encoder: Path, root: Path) -> Path | None:
    return next((folder / "tokenizer.json" for folder in (encoder, root) if (folder / "tokenizer.json").is_file()), None)


def _weights_in(folder: Path) -> Path:
    for name in ("model.safetensors", "model.onnx", "onnx/model.onnx"):
        if (folder / name).is_file():
            return folder / name
    if (folder / "modules.json").is_file() and (nested := _modules(folder).get("Transformer")):
        return _weights_in(folder / nested)
    if (folder / "pytorch_model.bin").is_file():
        raise InvalidInput(f"The model {folder.name!r} has pickled weights only; save it as safetensors.", field="model")
    raise InvalidInput(f"The model {folder.name!r} has no model.safetensors and no model.onnx.", field="model")


def _modules(root: Path) -> dict[str, str]:
    """Class name of each module in modules.json -> its folder. Without modules.json: none."""
    listed = _read_json(root / "modules.json")
    if listed is None:
        return {}
    modules: dict[str, str] = {}
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str) or not isinstance(entry.get("path"), str):
            raise InvalidInput("modules.json: each entry needs a type and a path.", field="model")
        folder = (root / entry["path"]).resolve()
        if not folder.is_relative_to(root.resolve()):
            raise InvalidInput("modules.json: a module's path leaves the model directory.", field="model")
        modules[entry["type"].rsplit(".", 1)[-1]] = entry["path"]
    if unknown := set(modules) - {"Transformer", "Pooling", "Normalize"}:
        raise InvalidInput(
            f"modules.json: the module {sorted(unknown)[0]} is not supported; only Transformer, Pooling and Normalize are.", field="model"
        )
    if "Transformer" not in modules:
        raise InvalidInput("modules.json: there is no Transformer module.", field="model")
    return modules


def _pooling(root: Path, modules: Mapping[str, str]) -> tuple[Literal["mean", "cls"] | None, bool]:
    folder = root / modules.get("Pooling", "1_Pooling")
    settings = _json(folder / "config.json")
    if settings is None:
        if "Pooling" in modules:
            raise InvalidInput(f"{folder.name}/config.json is missing.", field="model")
        return None, True
    modes = [mode for key, mode in _POOLING_KEYS.items() if settings.get(key) is True]
    if isinstance(named := settings.get("pooling_mode"), str):
        modes = [named]
    include_prompt = settings.get("include_prompt", True) is not False
    match modes:
        case ["mean"]:
            return "mean", include_prompt
        case ["cls"]:
            return "cls", include_prompt
    found = " + ".join(modes) or "none"
    raise InvalidInput(f"{folder.name}/config.json: pooling {found!r} is not supported; only mean and cls are.", field="model")


def _transformer_settings(encoder: Path) -> Mapping[str, object]:
    names = sorted(encoder.glob("sentence_*_config.json"))
    return (_json(names[0]) or {}) if names else {}


def _prefixes(settings: Mapping[str, object]) -> tuple[str, str]:
    prompts = settings.get("prompts")
    texts = {name: text for name, text in prompts.items() if isinstance(text, str)} if isinstance(prompts, dict) else {}
    default = texts.get(str(settings.get("default_prompt_name")), "")

    def first(names: Sequence[str]) -> str:
        return next((texts[name] for name in names if name in texts), default)

    return first(_QUERY_PROMPTS), first(_PASSAGE_PROMPTS)


def _window(transformer: Mapping[str, object], encoder: Path, config: Mapping[str, object]) -> int | None:
    """max_seq_length of the Sentence-Transformers settings, else the tokenizer's, else the number of positions."""
    tokenizer = _json(encoder / "tokenizer_config.json") or {}
    for value in (transformer.get("max_seq_length"), tokenizer.get("model_max_length"), config.get("max_position_embeddings")):
        if isinstance(value, int) and 0 < value < 1_000_000:  # transformers writes 10^30 for "no limit"
            return value
    return None


def _small_files_hash(root: Path, encoder: Path, tokenizer: Path) -> str:
    digest = hashlib.sha256()
    own = [root / "modules.json", root / "config_sentence_transformers.json", *sorted(root.glob("*_Pooling/config.json"))]
    for file in (
        *own,
        encoder / "config.json",
        encoder / "tokenizer_config.json",
        *sorted(encoder.glob("sentence_*_config.json")),
        tokenizer,
    ):
        digest.update(file_digest(file).encode() if file.is_file() else b"-")
    return digest.hexdigest()[:16]


def _json(path: Path) -> dict[str, object] | None:
    """An object from a small JSON file; None when there is no such file."""
    value = _read_json(path)
    if value is not None and not isinstance(value, dict):
        raise InvalidInput(f"{path.name} does not hold a JSON object.", field="model")
    return value


def _read_json(path: Path) -> object:
    if not path.is_file():
        return None
    if path.stat().st_size > _CONFIG_LIMIT:
        raise InvalidInput(f"{path.name} is too large for a configuration file.", field="model")
    try:
        value: object = json.loads(path.read_bytes())
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(f"{path.name} is not valid JSON: {error}.", field="model") from error
    return value


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""
