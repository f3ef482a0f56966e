"""Runs beside each member of the replica set, and keeps the set as the chart describes it: initiates it once all members are there and new, makes
the users, adds members that are missing and takes out those that were scaled away. Says on port 8080 whether its member is ready.
"""

import http.server
import os
import signal
import sys
import threading
import time

from pymongo import MongoClient
from pymongo.errors import InvalidURI, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

SECRETS = "/etc/mongodb/secrets"
MEMBERS = os.environ["REPLICA_SET_MEMBERS"].split(",")  # host:port, by the pods' ordinals
ORDINAL = int(os.environ["POD_NAME"].rsplit("-", 1)[1])
DATABASE = os.environ["REPLICA_SET_DATABASE"]
STALE = 30.0  # seconds after which what was found of the member counts no more
UNAUTHORIZED, ALREADY_INITIALIZED = 13, 23

found = {"ready": False, "at": 0.0}


def secret(key):
    """A key of MongoDB's Secret, as it is now."""
    with open(f"{SECRETS}/{key}", encoding="utf-8") as file:
        return file.read().strip()


def connect(member, **credentials):
    """A client of this member alone."""
    return MongoClient(
        f"mongodb://{member}/",
        directConnection=True,
        serverSelectionTimeoutMS=3000,
        connectTimeoutMS=3000,
        socketTimeoutMS=20000,
        **credentials,
    )


def hello(member):
    """What the member says of itself; it needs no user."""
    with connect(member) as client:
        return client.admin.command("hello")


def initiate(own):
    """Only when every member answers and belongs to no set yet: a member that lost its volume must not begin a second one."""
    if any(hello(member).get("setName") for member in MEMBERS[1:]):
        return
    members = [{"_id": number, "host": member} for number, member in enumerate(MEMBERS)]
    try:
        own.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
    except OperationFailure as error:
        if error.code != ALREADY_INITIALIZED:
            raise
    print(f"The replica set has {len(members)} members.", flush=True)


def make_users(own, address):
    """root by MongoDB's localhost exception, which ends with the first user; then the one that `uri` names, with the password that it has there."""
    password = secret("root-password")
    try:
        own.admin.command("createUser", "root", pwd=password, roles=["root"], writeConcern={"w": "majority"})
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
    root = connect(address, username="root", password=password, authSource="admin")
    uri = parse_uri(secret("uri"))
    if not uri["username"] or not uri["password"]:
        raise InvalidURI("uri of MongoDB's Secret names no user with a password: mongodb://USER:PASSWORD@HOST/...")
    options = {name.lower(): value for name, value in uri["options"].items()}
    home = root[options.get("authsource") or uri["database"] or "admin"]
    known = home.command("usersInfo", uri["username"])["users"]
    roles = [{"role": "dbOwner", "db": DATABASE}, {"role": "clusterMonitor", "db": "admin"}]
    home.command("updateUser" if known else "createUser", uri["username"], pwd=uri["password"], roles=roles, writeConcern={"w": "majority"})
    return root


def match_members(root):
    """One change at a time, as MongoDB wants it."""
    config = root.admin.command("replSetGetConfig")["config"]
    hosts = [member["host"] for member in config["members"]]
    prefix = MEMBERS[0].split(".")[0].rsplit("-", 1)[0] + "-"
    missing = next((member for member in MEMBERS if member not in hosts), None)
    surplus = next((host for host in hosts if host not in MEMBERS and host.startswith(prefix)), None)
    if missing:
        if hello(missing).get("setName"):
            return
        config["members"].append({"_id": max(member["_id"] for member in config["members"]) + 1, "host": missing})
    elif surplus:
        config["members"] = [member for member in config["members"] if member["host"] != surplus]
    else:
        return
    config["version"] += 1
    root.admin.command("replSetReconfig", config)
    print(f"{'Added' if missing else 'Removed'} {missing or surplus}.", flush=True)


class Health(http.server.BaseHTTPRequestHandler):
    """Whether the member is ready, for the kubelet."""

    def do_GET(self):
        ready = found["ready"] and time.monotonic() - found["at"] < STALE
        self.send_response(200 if ready else 503)
        self.end_headers()

    def log_message(self, *_):
        """Probes come every few seconds."""


def keep(own, address):
    """A Secret that the server does not know any more is said, and takes nothing from a member that was ready with the old one."""
    users, root = None, None
    while True:
        try:
            state = own.admin.command("hello")
            primary = state.get("isWritablePrimary")
            found.update(ready=bool(state.get("secondary") or (primary and users)), at=time.monotonic())
            if not state.get("setName") and ORDINAL == 0:
                initiate(own)
            if primary:
                wanted = (secret("root-password"), secret("uri"))
                if users != wanted:
                    root, users = make_users(own, address), wanted
                match_members(root)
        except PyMongoError as error:
            print(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", flush=True)
        time.sleep(5 if found["ready"] else 1)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container is ended by nothing less
threading.Thread(target=http.server.ThreadingHTTPServer(("", 8080), Health).serve_forever, daemon=True).start()
own_address = f"127.0.0.1:{MEMBERS[ORDINAL].rsplit(':', 1)[1]}"
keep(connect(own_address), own_address)
