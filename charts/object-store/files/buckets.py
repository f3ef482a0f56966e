"""Makes the buckets that are missing, by S3 with signature version 4; waits until the server answers."""

import datetime
import hashlib
import hmac
import http.client
import os
import sys
import time
import urllib.parse

ENDPOINT, REGION = urllib.parse.urlsplit(os.environ["S3_ENDPOINT"]), os.environ["S3_REGION"]
PATIENCE = 300.0  # seconds for the server to come
EMPTY = hashlib.sha256(b"").hexdigest()


def secret(key):
    """A key of the object store's Secret."""
    with open(f"/etc/object-store/secrets/{key}", encoding="utf-8") as file:
        return file.read().strip()


def request(method, bucket):
    """The status and the body of the answer."""
    now = datetime.datetime.now(datetime.UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    path = f"/{bucket}"
    headers = {"host": ENDPOINT.netloc, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    signed = ";".join(headers)
    canonical = "\n".join([method, path, "", *(f"{name}:{value}" for name, value in headers.items()), "", signed, EMPTY])
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret('secret-access-key')}".encode()
    for part in (day, REGION, "s3", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={secret('access-key-id')}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
    )
    kind = http.client.HTTPSConnection if ENDPOINT.scheme == "https" else http.client.HTTPConnection
    connection = kind(ENDPOINT.netloc, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def make(bucket):
    """False when the server is not there yet."""
    try:
        status, _ = request("HEAD", bucket)
        if status == 404:
            status, said = request("PUT", bucket)
            if status == 409:
                status = 200
        else:
            said = ""
    except OSError as error:
        print(f"{ENDPOINT.netloc}: {error}", flush=True)
        return False
    if status in (401, 403):
        sys.exit(f"{ENDPOINT.netloc} refuses the access key for bucket {bucket}: the Secret and the server disagree. {said[:300]}")
    if status != 200:
        print(f"{bucket}: {status} {said[:300]}", flush=True)
        return False
    print(f"Bucket {bucket} is there.", flush=True)
    return True


deadline = time.monotonic() + PATIENCE
for bucket in os.environ["S3_BUCKETS"].split(","):
    while not make(bucket):
        if time.monotonic() > deadline:
            sys.exit(f"{ENDPOINT.netloc} made no bucket {bucket} within {PATIENCE:.0f} seconds.")
        time.sleep(2)
