"""Copies the members' key to where mongod takes it: a file that nobody else may read."""

import contextlib
import os

with open("/etc/mongodb/secrets/keyfile", encoding="ascii") as source:
    key = source.read().strip()
if not 6 <= len(key) <= 1024:
    raise SystemExit("keyfile of MongoDB's Secret has to be 6 to 1024 characters of base64.")
with contextlib.suppress(FileNotFoundError):
    os.unlink("/run/mongodb/keyfile")
with open(os.open("/run/mongodb/keyfile", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400), "w", encoding="ascii") as target:
    target.write(key)
