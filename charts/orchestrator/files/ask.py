"""`helm test`: a document goes in through the Service, a question about it is answered and cites it, and it goes again."""

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

RAGSTONE = "/opt/ragstone/bin/ragstone"
COLLECTION = f"helm-test-{secrets.token_hex(4)}"  # of its own, so nobody's documents are touched
DOCUMENT = Path("/tmp/pump.md")


def ragstone(*arguments: str) -> dict:
    """What the command prints with --json. Ends the test when it fails."""
    done = subprocess.run([RAGSTONE, "--json", *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        sys.exit(f"ragstone {arguments[0]} failed ({done.returncode}): {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


signal.signal(signal.SIGTERM, lambda *_: sys.exit("The test was stopped."))  # or process 1 would overlook it, and nobody clean up
DOCUMENT.write_text("# Pump\n\nThe pump in hall four is painted blue.\n")
ragstone("collections", "create", COLLECTION)
try:
    ingested = ragstone("ingest", str(DOCUMENT), "-c", COLLECTION)
    answer = ragstone("ask", "What colour is the pump in hall four?", "-c", COLLECTION)
finally:
    ragstone("collections", "delete", COLLECTION, "--yes")
cited = {(citation["path"], citation["commit_id"]) for citation in answer["answer"]["citations"]}
wanted = (DOCUMENT.name, ingested["commit_id"])
if wanted not in cited or answer["snapshot"]["commit_id"] != ingested["commit_id"]:
    sys.exit(f"The answer should cite {wanted}, but it is {json.dumps(answer['answer'])} of commit {answer['snapshot']['commit_id']}.")
print(f"{os.environ['RAGSTONE_SERVER']} answered from commit {ingested['commit_id']}: {answer['answer']['text']}")
