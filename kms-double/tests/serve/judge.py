"""Judges kms-double by AWS's own model of the API, as botocore has it.

judge.py URL KEY_STORE_FILE: calls every operation that the double serves at URL, with success and with errors, and
checks each answer as it is on the wire: no member that the model does not know, none missing that it requires, types,
enumerations, lengths and patterns; errors are those that the model gives the operation. KEY_STORE_FILE has the
parameters of CreateCustomKeyStore. Ends with 1 and a list where an answer is not as the model says.
"""

import base64
import json
import re
import subprocess
import sys
import tempfile

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

# Errors that AWS answers to any operation, and that are in no operation's list.
COMMON = {
    "AccessDeniedException",
    "ThrottlingException",
    "ValidationException",
    "UnknownOperationException",
}
# Where the double differs from AWS on purpose: README.md, "It is a simulator, not a KMS".
DIFFERS = {
    ("XksProxyConfigurationType", "UriEndpoint"): "endpoints may have a port, and with --allow-http no TLS",
}


class Judge:
    def __init__(self, url, service="kms", credentials=("ALICE", "any-secret-will-do")):
        session = botocore.session.get_session()
        session.set_credentials(*credentials)
        config = Config(retries={"max_attempts": 0}, parameter_validation=False, read_timeout=60)
        self.client = session.create_client(service, region_name="us-east-1", endpoint_url=url, config=config)
        self.model = self.client.meta.service_model
        self.client.meta.events.register(f"before-parse.{service}", self.raw)
        self.wrong = []
        self.succeeded = set()
        self.failed = set()

    def raw(self, operation_model, response_dict, **_):
        self.answer = (response_dict["status_code"], response_dict["headers"], response_dict["body"])

    def say(self, operation, what):
        self.wrong.append(f"{operation}: {what}")

    def call(self, operation, error=None, **parameters):
        """Calls an operation, which has to fail with this error, or to succeed."""
        method = botocore.xform_name(operation)
        try:
            answer = getattr(self.client, method)(**parameters)
            found = None
        except ClientError as exception:
            answer, found = exception.response, exception.response["Error"]["Code"]
        if found != error:
            self.say(operation, f"{found or 'success'} instead of {error or 'success'}: {answer}")
        self.judge(operation)
        return answer

    def judge(self, operation):
        status, headers, body = self.answer
        model = self.model.operation_model(operation)
        if headers.get("content-type") != "application/x-amz-json-1.1":
            self.say(operation, f"content type {headers.get('content-type')}")
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", headers.get("x-amzn-requestid", "")):
            self.say(operation, "no request id")
        body = json.loads(body)
        if status == 200:
            self.succeeded.add(operation)
            if model.output_shape is None:
                if body:
                    self.say(operation, f"the model has no output, and there is {body}")
            else:
                self.shape(operation, model.output_shape, body, operation)
            return
        name = body.get("__type")
        self.failed.add(operation)
        listed = {shape.name: shape for shape in model.error_shapes}
        if set(body) != {"__type", "message"} or not isinstance(body.get("message"), str):
            self.say(operation, f"an error of another form: {body}")
        if name in listed:
            expected = listed[name].metadata.get("error", {}).get("httpStatusCode", 400)
            if listed[name].metadata.get("fault") and expected < 500:
                expected = 500
            if status != expected:
                self.say(operation, f"{name} with status {status} instead of {expected}")
        elif name not in COMMON:
            self.say(operation, f"{name} is none of its errors: {', '.join(sorted(listed))}")

    def shape(self, operation, shape, value, path, owner=None, member=None):
        def wrong(what):
            if (owner, member) not in DIFFERS:
                self.say(operation, f"{path}: {what}")

        def bounds(length):
            if not shape.metadata.get("min", 0) <= length <= shape.metadata.get("max", float("inf")):
                wrong(f"{length} is not within {shape.metadata}")

        if shape.type_name == "structure":
            if not isinstance(value, dict):
                return wrong(f"{value!r} is no structure")
            for name in set(value) - set(shape.members):
                self.say(operation, f"{path}.{name}: not in the model")
            for name in set(shape.required_members) - set(value):
                self.say(operation, f"{path}.{name}: required, and missing")
            for name in set(value) & set(shape.members):
                self.shape(operation, shape.members[name], value[name], f"{path}.{name}", shape.name, name)
        elif shape.type_name == "list":
            if not isinstance(value, list):
                return wrong(f"{value!r} is no list")
            bounds(len(value))
            for index, item in enumerate(value):
                self.shape(operation, shape.member, item, f"{path}[{index}]")
        elif shape.type_name == "string":
            if not isinstance(value, str):
                return wrong(f"{value!r} is no string")
            bounds(len(value))
            if shape.enum and value not in shape.enum:
                wrong(f"{value!r} is none of {shape.enum}")
            pattern = shape.metadata.get("pattern")
            if pattern and not re.search(f"^(?:{pattern})$", value):
                wrong(f"{value!r} does not match {pattern}")
        elif shape.type_name == "blob":
            bounds(len(base64.b64decode(value, validate=True)))
        elif shape.type_name == "boolean":
            if not isinstance(value, bool):
                wrong(f"{value!r} is no boolean")
        elif shape.type_name in ("integer", "long"):
            if not isinstance(value, int) or isinstance(value, bool):
                return wrong(f"{value!r} is no integer")
            bounds(value)
        elif shape.type_name == "timestamp":
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                wrong(f"{value!r} is no timestamp")
        else:
            wrong(f"the judge does not know {shape.type_name}")


def wrapped(public_key, material):
    """Wraps by openssl: RSAES_OAEP_SHA_256."""
    with tempfile.NamedTemporaryFile() as key:
        key.write(public_key)
        key.flush()
        options = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"]
        options = [part for option in options for part in ("-pkeyopt", option)]
        command = ["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", key.name, *options]
        return subprocess.run(command, input=material, capture_output=True, check=True).stdout


def imported_keys(judge):
    """Keys with imported material: their whole life."""
    call = judge.call
    tags = [{"TagKey": "job", "TagValue": "1"}]
    key = call("CreateKey", Origin="EXTERNAL", Description="judged", Tags=tags)["KeyMetadata"]["KeyId"]
    other = call("CreateKey", Origin="EXTERNAL")["KeyMetadata"]["KeyId"]

    def request(material=b"1" * 32, error=None, **more):
        wrapping = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_4096"}
        parameters = call("GetParametersForImport", KeyId=key, **wrapping)
        blob = wrapped(parameters["PublicKey"], material)
        values = {"KeyId": key, "ImportToken": parameters["ImportToken"], "EncryptedKeyMaterial": blob, **more}
        call("ImportKeyMaterial", error, **values)
        return values

    never = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    call("Encrypt", "KMSInvalidStateException", KeyId=key, Plaintext=b"plain")
    values = request(**never, KeyMaterialDescription="first")
    request(b"2" * 32, "IncorrectKeyMaterialException", **never)
    request(error="ValidationException")
    call("ImportKeyMaterial", "InvalidImportTokenException", **{**values, "KeyId": other})
    call("ImportKeyMaterial", "InvalidCiphertextException", **{**values, "EncryptedKeyMaterial": b"none"})
    call("GetParametersForImport", "UnsupportedOperationException", KeyId=key, WrappingAlgorithm="RSAES_PKCS1_V1_5",
         WrappingKeySpec="RSA_2048")
    call("RotateKeyOnDemand", "KMSInvalidStateException", KeyId=key)
    request(b"2" * 32, **never, ImportType="NEW_KEY_MATERIAL")
    listing = {"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
    call("ListKeyRotations", **listing)
    call("RotateKeyOnDemand", KeyId=key)
    first = call("ListKeyRotations", **listing, Limit=1)
    call("ListKeyRotations", **listing, Marker=first["NextMarker"])
    call("ListKeyRotations", "InvalidMarkerException", **listing, Marker="nowhere")
    call("GetKeyRotationStatus", KeyId=key)
    for operation in ("EnableKeyRotation", "DisableKeyRotation"):
        call(operation, "UnsupportedOperationException", KeyId=key)
    cryptography(judge, key)
    call("DeleteImportedKeyMaterial", KeyId=key)
    call("DeleteImportedKeyMaterial", KeyId=other)
    call("DescribeKey", KeyId=key)
    call("ListKeyRotations", **listing)
    call("DisableKey", "KMSInvalidStateException", KeyId=key)
    administration(judge, key, other)


def generated_keys(judge):
    """Keys with material of KMS's own."""
    call = judge.call
    key = call("CreateKey")["KeyMetadata"]["KeyId"]
    call("DescribeKey", KeyId=key)
    cryptography(judge, key)
    call("GetKeyRotationStatus", KeyId=key)
    call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    call("EnableKeyRotation", "ValidationException", KeyId=key, RotationPeriodInDays=89)
    call("GetKeyRotationStatus", KeyId=key)
    call("RotateKeyOnDemand", KeyId=key)
    call("ListKeyRotations", KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    call("DisableKeyRotation", KeyId=key)
    call("GetParametersForImport", "UnsupportedOperationException", KeyId=key, WrappingKeySpec="RSA_2048",
         WrappingAlgorithm="RSAES_OAEP_SHA_256")


def multi_region_keys(judge):
    """A key with a replica in another Region."""
    call = judge.call
    key = call("CreateKey", MultiRegion=True)["KeyMetadata"]["KeyId"]
    tags = [{"TagKey": "a", "TagValue": "b"}]
    call("ReplicateKey", KeyId=key, ReplicaRegion="eu-west-1", Description="judged", Tags=tags)
    call("ReplicateKey", "AlreadyExistsException", KeyId=key, ReplicaRegion="eu-west-1")
    call("ReplicateKey", "UnsupportedOperationException", ReplicaRegion="eu-west-1",
         KeyId=call("CreateKey")["KeyMetadata"]["KeyId"])
    replicas = call("DescribeKey", KeyId=key)["KeyMetadata"]["MultiRegionConfiguration"]["ReplicaKeys"]
    elsewhere = judge.client.meta.config.merge(Config(region_name="eu-west-1"))
    session = botocore.session.get_session()
    session.set_credentials("ALICE", "any-secret-will-do")
    there = session.create_client("kms", config=elsewhere, region_name="eu-west-1",
                                  endpoint_url=judge.client.meta.endpoint_url)
    if there.describe_key(KeyId=key)["KeyMetadata"]["Arn"] != replicas[0]["Arn"]:
        judge.say("DescribeKey", "a request that is signed for another Region is not answered there")
    call("UpdatePrimaryRegion", "NotFoundException", KeyId=key, PrimaryRegion="eu-north-1")
    call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    call("DescribeKey", KeyId=key)
    call("ReplicateKey", "KMSInvalidStateException", KeyId=key, ReplicaRegion="eu-north-1")
    call("CancelKeyDeletion", KeyId=key)
    call("EnableKey", KeyId=key)
    call("UpdatePrimaryRegion", KeyId=key, PrimaryRegion="eu-west-1")
    call("DescribeKey", KeyId=key)
    call("RotateKeyOnDemand", "UnsupportedOperationException", KeyId=key)


def cryptography(judge, key):
    call = judge.call
    call("GetKeyLastUsage", KeyId=key)
    blob = call("Encrypt", KeyId=key, Plaintext=b"plain")["CiphertextBlob"]
    call("Encrypt", "DryRunOperationException", KeyId=key, Plaintext=b"plain", DryRun=True)
    call("Decrypt", CiphertextBlob=blob)
    call("Decrypt", "InvalidCiphertextException", CiphertextBlob=b"none")
    call("ReEncrypt", CiphertextBlob=blob, DestinationKeyId=key)
    call("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    call("GenerateDataKey", "ValidationException", KeyId=key)
    call("GenerateDataKeyWithoutPlaintext", KeyId=key, NumberOfBytes=24)
    call("GetKeyLastUsage", KeyId=key)
    call("DisableKey", KeyId=key)
    for operation, more in (
        ("Encrypt", {"KeyId": key, "Plaintext": b"plain"}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": key}),
        ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
        ("GenerateDataKeyWithoutPlaintext", {"KeyId": key, "KeySpec": "AES_256"}),
    ):
        call(operation, "DisabledException", **more)
    call("EnableKey", KeyId=key)


def administration(judge, key, other):
    call = judge.call
    call("CreateAlias", AliasName="alias/judged", TargetKeyId=key)
    call("CreateAlias", "AlreadyExistsException", AliasName="alias/judged", TargetKeyId=key)
    call("CreateAlias", "InvalidAliasNameException", AliasName="alias/aws/judged", TargetKeyId=key)
    call("UpdateAlias", AliasName="alias/judged", TargetKeyId=other)
    call("ListAliases")
    call("DeleteAlias", AliasName="alias/judged")
    call("DeleteAlias", "NotFoundException", AliasName="alias/judged")
    policy = call("GetKeyPolicy", KeyId=key)["Policy"]
    call("GetKeyPolicy", "NotFoundException", KeyId=key, PolicyName="AWS_RAM")
    call("PutKeyPolicy", KeyId=key, Policy=policy)
    call("PutKeyPolicy", "MalformedPolicyDocumentException", KeyId=key, Policy=policy.replace(":root", ":user/None"))
    call("PutKeyPolicy", "ValidationException", KeyId=key, Policy=policy, PolicyName="AWS_RAM")
    call("ListKeyPolicies", KeyId=key)
    call("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": ""}])
    call("TagResource", "TagException", KeyId=key, Tags=[{"TagKey": "aws:a", "TagValue": ""}])
    call("ListResourceTags", KeyId=key, Limit=1)
    call("UntagResource", KeyId=key, TagKeys=["a"])
    call("UpdateKeyDescription", KeyId=key, Description="another")
    call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    call("DescribeKey", KeyId=key)
    for operation, more in (
        ("ScheduleKeyDeletion", {}),
        ("UpdateKeyDescription", {"Description": "late"}),
        ("TagResource", {"Tags": [{"TagKey": "a", "TagValue": ""}]}),
        ("UntagResource", {"TagKeys": ["a"]}),
        ("EnableKey", {}),
    ):
        call(operation, "KMSInvalidStateException", KeyId=key, **more)
    call("CancelKeyDeletion", KeyId=key)
    call("CancelKeyDeletion", "KMSInvalidStateException", KeyId=key)
    call("ListKeys", Limit=1)
    call("ListKeys", "InvalidMarkerException", Marker="nowhere")


def external_key_stores(judge, parameters):
    call = judge.call
    store = call("CreateCustomKeyStore", **parameters)["CustomKeyStoreId"]
    call("CreateCustomKeyStore", "CustomKeyStoreNameInUseException", **parameters)
    by_id = {"CustomKeyStoreId": store}
    external = {"Origin": "EXTERNAL_KEY_STORE", **by_id}
    call("CreateKey", "CustomKeyStoreInvalidStateException", **external, XksKeyId="usable")
    call("ConnectCustomKeyStore", **by_id)
    call("DescribeCustomKeyStores")
    call("DescribeCustomKeyStores", "CustomKeyStoreNotFoundException", CustomKeyStoreName="none")
    call("CreateKey", "XksKeyNotFoundException", **external, XksKeyId="absent")
    key = call("CreateKey", **external, XksKeyId="usable")["KeyMetadata"]["KeyId"]
    call("CreateKey", "XksKeyAlreadyInUseException", **external, XksKeyId="usable")
    call("DescribeKey", KeyId=key)
    cryptography(judge, key)
    for operation in ("RotateKeyOnDemand", "ListKeyRotations", "GetKeyRotationStatus", "EnableKeyRotation",
                      "DisableKeyRotation", "DeleteImportedKeyMaterial"):
        call(operation, "UnsupportedOperationException", KeyId=key)
    call("UpdateCustomKeyStore", **by_id, NewCustomKeyStoreName="renamed")
    call("DeleteCustomKeyStore", "CustomKeyStoreHasCMKsException", **by_id)
    call("DisconnectCustomKeyStore", **by_id)
    call("DisconnectCustomKeyStore", "CustomKeyStoreInvalidStateException", **by_id)
    call("Encrypt", "KMSInvalidStateException", KeyId=key, Plaintext=b"plain")
    vpc = {**parameters, "CustomKeyStoreName": "vpc", "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
           "XksProxyUriEndpoint": "https://private.example.com",
           "XksProxyVpcEndpointServiceName": "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0"}
    by_id = {"CustomKeyStoreId": call("CreateCustomKeyStore", **vpc)["CustomKeyStoreId"]}
    call("DescribeCustomKeyStores", **by_id)
    call("ConnectCustomKeyStore", **by_id)
    call("DescribeCustomKeyStores", **by_id)
    call("ConnectCustomKeyStore", "CustomKeyStoreInvalidStateException", **by_id)
    call("DisconnectCustomKeyStore", **by_id)
    call("DeleteCustomKeyStore", **by_id)
    call("DeleteCustomKeyStore", "CustomKeyStoreNotFoundException", **by_id)


def main():
    judge = Judge(sys.argv[1])
    imported_keys(judge)
    generated_keys(judge)
    multi_region_keys(judge)
    with open(sys.argv[2]) as file:
        external_key_stores(judge, json.load(file))
    # What was never judged is not served, and says so.
    for operation in sorted(set(judge.model.operation_names) - judge.succeeded):
        judge.call(operation, "UnknownOperationException")
    print(f"{len(judge.succeeded)} operations of {len(judge.model.operation_names)} judged")
    for what in judge.wrong:
        print(what)
    sys.exit(1 if judge.wrong else 0)


if __name__ == "__main__":
    main()
