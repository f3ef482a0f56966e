"""Run by the interpreter that has vLLM: reads lists of arguments from standard input, and prints what vLLM's own parser makes of each, or its complaint."""

from __future__ import annotations

import json
import sys


class Complaint(Exception):
    """What the parser would have ended the program with."""


def main() -> None:
    """One object a list: the values by name, or `error`; first the flags that it knows."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found]  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]  # noqa: PLC0415

    parser = make_arg_parser(FlexibleArgumentParser())

    def complain(message: str) -> None:
        raise Complaint(message)

    parser.error = complain
    told: list[object] = [sorted(parser._option_string_actions)]
    for arguments in json.load(sys.stdin):
        try:
            told.append({name: _plain(value) for name, value in vars(parser.parse_args(arguments)).items()})
        except Complaint as error:
            told.append({"error": str(error)})
    print(json.dumps(told))


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


if __name__ == "__main__":
    main()
