#!/usr/bin/env bash
# moto 5.2.5 (PyPI), its server: IAM's ListUsers and ListGroups ignore MaxItems. However small it is, they answer with
# all users or groups and say nothing of more (IsTruncated false, or left out). ListRoles of the same server keeps to it.
# IAM's API Reference gives MaxItems the same meaning for each of the three.
#
# Why it matters: a program that picks the principals of a key policy from the users of an account reads that list in
# parts. Its paging cannot be tested with moto; kms-double keeps to MaxItems in every list.
#
# Exit status 0: the behaviour is as described. 1: it has changed. Needs Python 3 with venv, and PyPI.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv venv
venv/bin/pip --quiet install 'moto[server]==5.2.5' boto3==1.43.46
venv/bin/python - 2>log <<'END' | tee seen
import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
iam = boto3.client(
    "iam",
    endpoint_url=f"http://{host}:{port}",
    region_name="us-east-1",
    aws_access_key_id="EXAMPLE",
    aws_secret_access_key="example",
)
names = ["one", "two", "three"]
for name in names:
    iam.create_user(UserName=name)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    iam.create_group(GroupName=name)
for operation, field in ((iam.list_users, "Users"), (iam.list_roles, "Roles"), (iam.list_groups, "Groups")):
    answer = operation(MaxItems=1)
    print(f"{field}: {len(answer[field])} of {len(names)}, IsTruncated {answer.get('IsTruncated')}")
server.stop()
END

diff <(grep -v MotoServer seen) - <<'END'
Users: 3 of 3, IsTruncated False
Roles: 1 of 3, IsTruncated True
Groups: 3 of 3, IsTruncated None
END
