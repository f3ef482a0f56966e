#!/opt/mongod/bin/python
"""Stands in for `mongod` where there is none: SecantusDB behind the options and the few commands by which the chart sets a replica set up.

It has one member, which is nobody's until `replSetInitiate`, and asks nobody for a password.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from secantus import commands  # type: ignore[import-untyped]
from secantus.server import SecantusDBServer  # type: ignore[import-untyped]

Document = dict[str, Any]
ALREADY_INITIALIZED, NOT_YET_INITIALIZED = 23, 94


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dbpath", type=Path, required=True)
    parser.add_argument("--port", type=int, default=27017)
    parser.add_argument("--bind_ip_all", action="store_true")
    parser.add_argument("--replSet", required=True)
    parser.add_argument("--keyFile", type=Path, required=True)
    parser.add_argument("--wiredTigerCacheSizeGB", type=float, default=0.25)
    options = parser.parse_args()
    options.keyFile.read_bytes()  # as mongod does
    config = options.dbpath / "replica-set.json"

    def configured() -> Document | None:
        found: Document | None = json.loads(config.read_text("utf-8")) if config.is_file() else None
        return found

    def hello(document: Document, context: commands.CommandContext) -> Document:
        answer, known = original(document, context), configured()
        if known is None:
            absent = ("setName", "setVersion", "hosts", "passives", "arbiters", "primary", "me", "electionId")
            return {name: value for name, value in answer.items() if name not in absent} | {"isWritablePrimary": False, "secondary": False}
        address = known["members"][0]["host"]
        return {**answer, "setVersion": known["version"], "hosts": [address], "primary": address, "me": address}

    def initiate(document: Document, _: commands.CommandContext) -> Document:
        if configured() is not None:
            return {"ok": 0.0, "code": ALREADY_INITIALIZED, "codeName": "AlreadyInitialized", "errmsg": "already initialized"}
        config.write_text(json.dumps({"version": 1, **document["replSetInitiate"]}), encoding="utf-8")
        return {"ok": 1.0}

    def get_config(_: Document, __: commands.CommandContext) -> Document:
        known = configured()
        if known is None:
            return {
                "ok": 0.0,
                "code": NOT_YET_INITIALIZED,
                "codeName": "NotYetInitialized",
                "errmsg": "no replset config has been received",
            }
        return {"ok": 1.0, "config": known}

    original = commands._HANDLERS["hello"]
    for name in ("hello", "isMaster", "ismaster"):
        commands._HANDLERS[name] = hello
    commands._HANDLERS |= {"replSetInitiate": initiate, "replSetGetConfig": get_config}
    server = SecantusDBServer(
        host="0.0.0.0",
        port=options.port,
        storage_path=str(options.dbpath / "secantus"),
        replica_set_name=options.replSet,
        cache_size=f"{int(options.wiredTigerCacheSizeGB * 1024)}M",
        sync_on_commit=True,  # what it acknowledged outlives its pod
    )

    def stop(*_: object) -> None:
        server.stop()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    server.start()
    server.wait()


if __name__ == "__main__":
    main()
