#!/usr/bin/env bash
# LocalStack 4.14.0 (PyPI: localstack-core) can be installed with Python 3.10 and 3.11 (Requires-Python: >=3.10), starts
# with them, and calls its KMS "available". Every call to KMS is then answered with an internal error (500): the service
# is loaded at its first call, and is written in syntax that Python knows since 3.12.
#
# Why it matters: the start and the health check of LocalStack are what tests wait for; that the Python is too old shows
# at the first CreateKey alone, as an error that seems to be about the request. Use Python 3.12 or later.
#
# Exit status 0: the behaviour is as described. 1: it has changed. Needs Python 3.11 or 3.10 with venv (PYTHON names it;
# python3.11 by default), and PyPI.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"

"${PYTHON:-python3.11}" -m venv venv
venv/bin/pip --quiet install uv
venv/bin/uv pip install --quiet --python venv/bin/python --exclude-newer 2026-11-30 \
    'localstack-core[base-runtime]==4.14.0' 'cbor2<6' 'pyopenssl<25.2' service_identity
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
env SERVICES=kms GATEWAY_LISTEN="127.0.0.1:$port" LOCALSTACK_VOLUME_DIR="$folder/volume" \
    SKIP_SSL_CERT_DOWNLOAD=1 DISABLE_EVENTS=1 venv/bin/python -m localstack.runtime.main >localstack.log 2>&1 &
for _ in {1..120}; do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    sleep 1
done

no_proxy=127.0.0.1 NO_PROXY=127.0.0.1 venv/bin/python - "http://127.0.0.1:$port" <<'END' | tee seen
import json
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

health = json.load(urllib.request.urlopen(f"{sys.argv[1]}/_localstack/health"))
print("health:", health["services"]["kms"])
kms = boto3.client(
    "kms",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="EXAMPLE",
    aws_secret_access_key="example",
    config=Config(retries={"max_attempts": 0}),
)
try:
    kms.create_key()
    print("CreateKey: success")
except ClientError as error:
    print("CreateKey: {} {}".format(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]))
END

diff seen - <<'END'
health: available
CreateKey: 500 InternalError
END
