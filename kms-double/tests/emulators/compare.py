"""Makes the same calls to kms-double and to an emulator by others, and holds the differences against a table.

compare.py PARTNER DOUBLE_URL PARTNER_URL TABLE: PARTNER is ministack, localstack (the life of imported key material) or moto
(users, roles and access keys). TABLE is a Markdown file, of which the table under the heading "## PARTNER" has a row for
each difference: what was done, what kms-double answered, what the other did, and what AWS's documents say. Ends with 1
where another difference is found, or one that is in the table is not. With `-` for TABLE the rows are printed.
"""

import datetime
import os
import re
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

ALGORITHMS = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
SPECS = ("RSA_2048", "RSA_3072", "RSA_4096")
NEVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


def client(service, url):
    config = Config(retries={"max_attempts": 0}, connect_timeout=30, read_timeout=120, parameter_validation=False)
    return boto3.client(service, region_name="us-east-1", endpoint_url=url, config=config,
                        aws_access_key_id="ALICE", aws_secret_access_key="any-secret-will-do")


class Observations(dict):
    def see(self, what, look):
        """Notes what a call answers, or the code of its error. Returns the answer."""
        try:
            found = look()
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            found = code if status < 500 else f"{code} ({status})"
        except BotoCoreError as error:
            found = type(error).__name__
        except (KeyError, ValueError) as error:
            found = f"another form: {type(error).__name__}"
        self[what] = found if isinstance(found, str) else "success"
        return found


def wrapped(public_key, algorithm, material):
    key = serialization.load_der_public_key(public_key)

    def oaep(text):
        digest = hashes.SHA256() if algorithm.endswith("256") else hashes.SHA1()
        return key.encrypt(text, padding.OAEP(padding.MGF1(digest), digest, None))

    if algorithm == "RSAES_PKCS1_V1_5":
        return key.encrypt(material, padding.PKCS1v15())
    if algorithm.startswith("RSAES"):
        return oaep(material)
    kek = os.urandom(32)
    return oaep(kek) + aes_key_wrap_with_padding(kek, material)


def imports(url):
    """The life of imported key material."""
    kms, seen = client("kms", url), Observations()

    def new_key():
        return kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]

    def state(key):
        return kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]

    def parameters(key, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048"):
        return kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)

    def bring(key, material, algorithm="RSAES_OAEP_SHA_256", with_=None, **more):
        given = with_ or parameters(key, algorithm)
        blob = wrapped(given["PublicKey"], algorithm, material)
        values = {"KeyId": key, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": blob, **NEVER, **more}
        kms.import_key_material(**{name: value for name, value in values.items() if value is not None})
        return state(key)

    def encrypted(key, **more):
        return kms.encrypt(KeyId=key, Plaintext=b"plain", **more)["CiphertextBlob"]

    def decrypted(blob, **more):
        return "the plaintext" if kms.decrypt(CiphertextBlob=blob, **more)["Plaintext"] == b"plain" else "another text"

    seen.see("CreateKey with the origin EXTERNAL: state", lambda: state(new_key()))
    seen.see("Encrypt before the import", lambda: encrypted(new_key()))
    for spec in SPECS:
        def bits(spec=spec):
            public = parameters(new_key(), spec=spec)["PublicKey"]
            return str(serialization.load_der_public_key(public).key_size)

        seen.see(f"GetParametersForImport {spec}: bits", bits)

    def hours():
        left = parameters(new_key())["ParametersValidTo"] - datetime.datetime.now(datetime.timezone.utc)
        return f"{round(left.total_seconds() / 3600)} hours"

    seen.see("GetParametersForImport: ParametersValidTo", hours)
    for algorithm in ALGORITHMS:
        def life(algorithm=algorithm):
            key = new_key()
            bring(key, os.urandom(32), algorithm)
            return f"{state(key)}, {decrypted(encrypted(key))}"

        seen.see(f"Import by {algorithm}, Encrypt, Decrypt", life)
    seen.see("GetParametersForImport for RSAES_PKCS1_V1_5", lambda: parameters(new_key(), "RSAES_PKCS1_V1_5"))
    material, key = os.urandom(32), new_key()
    seen.see("Import with a token that is none", lambda: bring(
        key, material, with_={**parameters(key), "ImportToken": b"none" * 20}))

    def garbage():
        given = parameters(key)
        kms.import_key_material(KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=b"x" * 256, **NEVER)

    seen.see("Import of what is not wrapped", garbage)
    seen.see("Import of 16 bytes", lambda: bring(key, b"1" * 16))

    def first_of_two():
        key = new_key()
        first = parameters(key)
        parameters(key)
        return bring(key, material, with_=first)

    seen.see("Import with the first of two tokens", first_of_two)

    def twice():
        key = new_key()
        given = parameters(key)
        bring(key, material, with_=given)
        return bring(key, material, with_=given)

    seen.see("Import with a token twice", twice)
    now = datetime.datetime.now(datetime.timezone.utc)
    expires = {"ExpirationModel": None}
    for what, end in (("without ValidTo", None), ("with ValidTo in the past", -1), ("with ValidTo in 400 days", 400)):
        end = end and now + datetime.timedelta(days=end)
        seen.see(f"Import that expires by default, {what}", lambda end=end: bring(
            new_key(), material, **expires, ValidTo=end))
    key = new_key()  # the former one may have taken what it should not have
    bring(key, material)
    blob = encrypted(key, EncryptionContext={"a": "1"})
    seen.see("Decrypt with another encryption context", lambda: decrypted(blob, EncryptionContext={"a": "2"}))
    changed = blob[:-1] + bytes([blob[-1] ^ 1])
    seen.see("Decrypt of a changed ciphertext", lambda: decrypted(changed, EncryptionContext={"a": "1"}))

    def other_key():
        other = new_key()
        bring(other, material)
        return decrypted(blob, EncryptionContext={"a": "1"}, KeyId=other)

    seen.see("Decrypt by another key with the same material", other_key)
    seen.see("DescribeKey: ExpirationModel", lambda: kms.describe_key(KeyId=key)["KeyMetadata"]["ExpirationModel"])

    def delete():
        kms.delete_imported_key_material(KeyId=key)
        return state(key)

    seen.see("DeleteImportedKeyMaterial: state", delete)
    seen.see("Import of the same material after that", lambda: bring(key, material))
    seen.see("Decrypt after that", lambda: decrypted(blob, EncryptionContext={"a": "1"}))

    def other_material():
        key = new_key()
        bring(key, os.urandom(32))
        kms.delete_imported_key_material(KeyId=key)
        return bring(key, os.urandom(32))

    seen.see("Import of other material after a deletion", other_material)
    key = new_key()
    bring(key, material)
    blob = encrypted(key, EncryptionContext={"a": "1"})
    seen.see("Import of NEW_KEY_MATERIAL", lambda: bring(key, os.urandom(32), ImportType="NEW_KEY_MATERIAL"))
    seen.see("RotateKeyOnDemand", lambda: kms.rotate_key_on_demand(KeyId=key))
    seen.see("Decrypt after the rotation", lambda: decrypted(blob, EncryptionContext={"a": "1"}))

    def states():
        listed = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
        return ", ".join(sorted(material["KeyMaterialState"] for material in listed)) or "none"

    seen.see("ListKeyRotations of all material: states", states)
    key = new_key()
    bring(key, material)
    kms.disable_key(KeyId=key)
    seen.see("Encrypt with a disabled key", lambda: encrypted(key))
    seen.see("ScheduleKeyDeletion after 6 days", lambda: kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=6))

    def cancel():
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        kms.cancel_key_deletion(KeyId=key)
        return state(key)

    seen.see("CancelKeyDeletion: state", cancel)
    seen.see("CreateAlias", lambda: kms.create_alias(AliasName="alias/compared", TargetKeyId=key))
    seen.see("CreateAlias again", lambda: kms.create_alias(AliasName="alias/compared", TargetKeyId=key))
    seen.see("UpdateAlias", lambda: kms.update_alias(AliasName="alias/compared", TargetKeyId=new_key()))
    seen.see("UpdateAlias of none", lambda: kms.update_alias(AliasName="alias/none", TargetKeyId=key))
    return seen


def identities(url):
    """Users, roles and access keys."""
    iam, sts, seen = client("iam", url), client("sts", url), Observations()
    seen.see("GetUser of none", lambda: iam.get_user(UserName="Nobody"))
    seen.see("GetUser: ARN", lambda: re.sub(r"\d{12}", "ACCOUNT", iam.get_user(UserName="Carol")["User"]["Arn"]))
    seen.see("ListUsers in parts of one", lambda: parts(iam.list_users, "Users", "UserName"))
    seen.see("ListRoles in parts of one", lambda: parts(iam.list_roles, "Roles", "RoleName"))
    seen.see("ListUsers with MaxItems 0", lambda: iam.list_users(MaxItems=0))
    seen.see("ListUsers with a PathPrefix that none has", lambda: ", ".join(
        user["UserName"] for user in iam.list_users(PathPrefix="/teams/")["Users"]) or "none")
    seen.see("ListAccessKeys of no user", lambda: iam.list_access_keys(UserName="Nobody"))
    seen.see("CreateAccessKey of no user", lambda: iam.create_access_key(UserName="Nobody"))
    made = [iam.create_access_key(UserName="Carol")["AccessKey"] for _ in range(2)]
    shape = "{} {} {} {}".format(made[0]["AccessKeyId"][:4], len(made[0]["AccessKeyId"]), len(made[0]["SecretAccessKey"]),
                                 made[0]["Status"])
    seen["CreateAccessKey: id, lengths and status"] = shape
    seen.see("CreateAccessKey for the third time", lambda: iam.create_access_key(UserName="Carol"))
    first = {"UserName": "Carol", "AccessKeyId": made[0]["AccessKeyId"]}

    def statuses():
        keys = iam.list_access_keys(UserName="Carol")["AccessKeyMetadata"]
        return ", ".join(sorted(key["Status"] for key in keys)) or "none"

    seen.see("UpdateAccessKey to Gone", lambda: iam.update_access_key(**first, Status="Gone"))
    iam.update_access_key(**first, Status="Inactive")
    seen.see("ListAccessKeys after one became Inactive", statuses)
    seen.see("UpdateAccessKey of another user's", lambda: iam.update_access_key(**{**first, "UserName": "Dave"},
                                                                                Status="Active"))
    iam.delete_access_key(**first)
    seen.see("ListAccessKeys after one was deleted", statuses)
    seen.see("DeleteAccessKey again", lambda: iam.delete_access_key(**first))
    seen.see("GetCallerIdentity: members", lambda: ", ".join(sorted(set(sts.get_caller_identity()) - {"ResponseMetadata"})))
    return seen


def parts(list_, items, name):
    found, request = [], {"MaxItems": 1}
    for _ in range(10):
        answer = list_(**request)
        found.append("+".join(sorted(item[name] for item in answer[items])))
        if not answer["IsTruncated"]:
            break
        request["Marker"] = answer["Marker"]
    return ", ".join(sorted(found))  # neither document says in which order


def prepare_moto(url):
    iam = client("iam", url)
    for user in ("Carol", "Dave"):
        iam.create_user(UserName=user)
    for role in ("Admins", "Users"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")


def table(path, partner):
    """The first three columns of the rows under a heading."""
    with open(path) as file:
        section = file.read().split(f"\n## {partner}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| \n").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {tuple(row[:3]) for row in rows[2:]}


def main():
    partner, double, other, path = sys.argv[1:]
    if partner == "moto":
        prepare_moto(other)
    look = identities if partner == "moto" else imports
    ours, theirs = look(double), look(other)
    rows = [(what, ours[what], theirs[what]) for what in ours if ours[what] != theirs[what]]
    print(f"{len(ours)} observations, {len(rows)} differences")
    if path == "-":
        for row in rows:
            print("| " + " | ".join(row) + " | |")
        return
    expected = table(path, partner)
    wrong = [f"not in the table: {row}" for row in rows if row not in expected]
    wrong += [f"in the table, and not found: {row}" for row in sorted(expected - set(rows))]
    for what in wrong:
        print(what)
    sys.exit(1 if wrong else 0)


main()
