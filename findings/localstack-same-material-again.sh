#!/usr/bin/env bash
# LocalStack 4.14.0 (PyPI: localstack-core), its KMS: a key of origin EXTERNAL whose material was deleted takes the same
# material again and is Enabled, as AWS KMS documents it; but Decrypt of what the key encrypted before is answered with
# an internal error (500). And material that is wrapped by RSA_AES_KEY_WRAP_SHA_1, one of the wrapping algorithms that
# GetParametersForImport offers, cannot be imported, while RSA_AES_KEY_WRAP_SHA_256 can.
#
# Why it matters: "remove from the cloud, bring the same key back later, read the old data" is what imported key material
# is for, and LocalStack is what many test it with. kms-double decrypts.
#
# Exit status 0: the behaviour is as described. 1: it has changed. Needs Python 3.12 or later with venv (PYTHON names it;
# python3.13 by default), and PyPI.
set -euo pipefail

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"

"${PYTHON:-python3.13}" -m venv venv
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
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

kms = boto3.client(
    "kms",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="EXAMPLE",
    aws_secret_access_key="example",
    config=Config(retries={"max_attempts": 0}),
)


def bring(key, material, algorithm):
    given = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")
    public = serialization.load_der_public_key(given["PublicKey"])
    digest = hashes.SHA256() if algorithm.endswith("256") else hashes.SHA1()
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    kek = os.urandom(32)
    wrapped = public.encrypt(kek, oaep) + aes_key_wrap_with_padding(kek, material)
    kms.import_key_material(
        KeyId=key,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=wrapped,
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )


def code(call):
    try:
        call()
    except ClientError as error:
        return "{} {}".format(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
    return "success"


def new_key():
    return kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]


for algorithm in ("RSA_AES_KEY_WRAP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1"):
    key = new_key()
    print(f"{algorithm}: {code(lambda: bring(key, os.urandom(32), algorithm))}")
key, material = new_key(), os.urandom(32)
bring(key, material, "RSA_AES_KEY_WRAP_SHA_256")
blob = kms.encrypt(KeyId=key, Plaintext=b"plain")["CiphertextBlob"]
kms.delete_imported_key_material(KeyId=key)
bring(key, material, "RSA_AES_KEY_WRAP_SHA_256")
print("same material again:", kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"])
print("Decrypt:", code(lambda: kms.decrypt(CiphertextBlob=blob)))
END

diff seen - <<'END'
RSA_AES_KEY_WRAP_SHA_256: success
RSA_AES_KEY_WRAP_SHA_1: 400 KMSInvalidStateException
same material again: Enabled
Decrypt: 500 InternalError
END
