"""What compose.yaml's service `volumes` does, as root inside a container: gives each store's volume to the user that all stores run as."""

import os

USER = 65532
KEY = "/volumes/mongodb-key/keyfile"

for name in sorted(os.listdir("/volumes")):
    os.chown(f"/volumes/{name}", USER, USER)
with open("/run/secrets/mongodb-keyfile", encoding="ascii") as source:
    key = source.read()
with open(KEY + ".new", "w", encoding="ascii") as target:
    target.write(key)
os.chmod(KEY + ".new", 0o400)  # mongod takes no other
os.chown(KEY + ".new", USER, USER)
os.replace(KEY + ".new", KEY)
