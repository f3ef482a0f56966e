#!/bin/sh
# Makes the secrets that compose.yaml mounts, in ./secrets, which Git ignores: random ones, once. What is there already stays.
# The directory is yours alone; the files in it can be read by the containers' user.
# usage: scripts/compose_secrets.sh
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
chmod 0700 secrets

random() { od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n' | sed 's/^/k/'; }

# Writes standard input to a file unless it is there.
keep() {
    if [ ! -s "secrets/$1" ]; then
        cat >"secrets/$1.new"
        chmod 0444 "secrets/$1.new"
        mv "secrets/$1.new" "secrets/$1"
    else
        cat >/dev/null
    fi
}
value() { cat "secrets/$1"; }

random | keep api-key
digest=$( (sha256sum <secrets/api-key || shasum -a 256 <secrets/api-key) 2>/dev/null | cut -d' ' -f1)
[ -n "$digest" ] || { echo "Neither sha256sum nor shasum is here: install coreutils." >&2; exit 1; }
echo "admin:admin:$digest" | keep api-keys

for name in mongodb-root-password mongodb-password qdrant-api-key lakefs-secret-access-key lakefs-encrypt-key nats-password \
    object-store-secret-access-key object-store-console-password mongo-express-password mongo-express-session; do
    random | keep "$name"
done
od -An -v -N96 -tx1 /dev/urandom | tr -d ' \n' | keep mongodb-keyfile
printf RAGSTONEOBJECTS | keep object-store-access-key-id
printf 'mongodb://ragstone:%s@mongodb:27017/ragstone?replicaSet=rs0&authSource=admin' "$(value mongodb-password)" | keep mongodb-uri

keep qdrant.yaml <<END
service:
  host: 0.0.0.0
  http_port: 6333
  grpc_port: 6334
  api_key: $(value qdrant-api-key)
END
keep lakefs.yaml <<END
listen_address: 0.0.0.0:8000
logging: {format: json, level: INFO}
database: {type: local}
blockstore:
  type: s3
  signing: {secret_key: $(value lakefs-encrypt-key)}
  s3:
    region: us-east-1
    force_path_style: true
    discover_bucket_region: false
    credentials: {access_key_id: RAGSTONEOBJECTS, secret_access_key: $(value object-store-secret-access-key)}
auth: {encrypt: {secret_key: $(value lakefs-encrypt-key)}}
installation: {user_name: ragstone, access_key_id: RAGSTONELAKEFS, secret_access_key: $(value lakefs-secret-access-key)}
stats: {enabled: false}
email_subscription: {enabled: false}
security: {check_latest_version: false}
usage_report: {enabled: false}
END
keep nats.conf <<END
server_name: nats
listen: "0.0.0.0:4222"
http: "127.0.0.1:8222"
jetstream { store_dir: /var/lib/nats, max_memory_store: 33554432, max_file_store: 1073741824 }
authorization { user: ragstone, password: "$(value nats-password)" }
END
keep object-store.json <<END
{"identities": [{"name": "ragstone", "credentials": [{"accessKey": "RAGSTONEOBJECTS", "secretKey": "$(value object-store-secret-access-key)"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
END
keep object-store-credentials <<END
[default]
aws_access_key_id = RAGSTONEOBJECTS
aws_secret_access_key = $(value object-store-secret-access-key)
END
keep object-store-console.toml <<END
[admin]
user = "admin"
password = "$(value object-store-console-password)"
END
keep mongo-express.env <<END
ME_CONFIG_MONGODB_URL=$(value mongodb-uri)
ME_CONFIG_BASICAUTH_PASSWORD=$(value mongo-express-password)
ME_CONFIG_SITE_COOKIESECRET=$(value mongo-express-session)
ME_CONFIG_SITE_SESSIONSECRET=$(value mongo-express-session)
END
echo "The secrets are in ./secrets; secrets/api-key is the API key of scope admin."
