"""Makes the Secrets that a cluster on trial needs, each once: one that is there already is left alone, whoever made it."""

import base64
import hashlib
import http.client
import json
import os
import secrets
import ssl
import sys

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
NAMESPACE = os.environ["NAMESPACE"]


def password():
    """192 bits in letters and digits that mean nothing to a URL, a shell or YAML; a letter comes first."""
    return "k" + secrets.token_hex(24)


def line(name, scope, key):
    """What a server has of a key: `ragstone keys new` prints the same."""
    return f"{name}:{scope}:{hashlib.sha256(key.encode()).hexdigest()}\n"


def service():
    """Of a model service: its own line, and the key with which the others come."""
    key = password()
    return {"api-keys": line("ragstone", "read", key), "api-key": key}


def wanted():
    """What each Secret holds: name -> key -> text."""
    key, own = password(), password()
    uri = f"mongodb://ragstone:{own}@{os.environ['MONGODB_HOST']}:27017/ragstone?replicaSet=rs0&authSource=admin"
    return {
        os.environ["API_KEYS"]: {"api-keys": line("admin", "admin", key), "test-api-key": key},
        os.environ["MONGODB"]: {
            "root-password": password(),
            "keyfile": base64.b64encode(secrets.token_bytes(96)).decode(),
            "uri": uri,
        },
        os.environ["QDRANT"]: {"api-key": password()},
        os.environ["LAKEFS"]: {
            "access-key-id": f"AKIA{secrets.token_hex(8).upper()}",
            "secret-access-key": password(),
            "encrypt-key": password(),
        },
        os.environ["NATS"]: {"password": password()},
        os.environ["OBJECT_STORE"]: {"access-key-id": f"AKIA{secrets.token_hex(8).upper()}", "secret-access-key": password()},
        os.environ["MONGO_EXPRESS"]: {"password": password(), "session-secret": password()},
        os.environ["EMBEDDING"]: service(),
        os.environ["GENERATION"]: service(),
    }


def create(name, texts):
    """The API server's status: 201 made, 409 there already."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "ragstone", "app.kubernetes.io/managed-by": "dev-secrets"}},
        "type": "Opaque",
        "stringData": texts,
    }
    with open(f"{ACCOUNT}/token", encoding="ascii") as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}", "Content-Type": "application/json"}
    trusted = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    connection = http.client.HTTPSConnection(
        os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]), timeout=30, context=trusted
    )
    try:
        connection.request("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", body=json.dumps(manifest), headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


for name, texts in wanted().items():
    try:
        status = create(name, texts)
    except OSError as error:
        sys.exit(f"The API server can't be reached: {error}. If its port is neither 443 nor 6443, name it in networkPolicy.extraEgress.")
    if status not in (201, 409):
        sys.exit(f"The API server answers {status} for Secret {name}.")
    print(f"Secret {name} {'was made' if status == 201 else 'is there already'}.", flush=True)
