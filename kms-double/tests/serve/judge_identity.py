"""Judges kms-double's IAM and STS by AWS's own models of the APIs, as botocore has them.

judge_identity.py URL VERIFYING_URL ACCESS_KEY_ID SECRET: URL is a double that verifies no callers and has the users
ALICE and Bob, and the role Admins; VERIFYING_URL is one that does, of which this is an access key of the user Carol. Calls
every operation, with success and with errors, and checks each answer as it is on the wire: XML and its namespace, members,
types, lengths and patterns; errors with their codes and statuses. Ends with 1 and a list where an answer is not as the
model says.
"""

import json
import re
import sys
import urllib.request
import xml.etree.ElementTree as ElementTree
from datetime import datetime

from judge import Judge

# Errors that any operation can have: "Common errors" in the API references of IAM and STS. Code, status, whose fault.
COMMON = {
    "AccessDenied": (403, "Sender"),
    "InvalidAction": (400, "Sender"),
    "InvalidClientTokenId": (403, "Sender"),
    "ServiceFailure": (500, "Receiver"),
    "SignatureDoesNotMatch": (403, "Sender"),
    "Throttling": (400, "Sender"),
    "ValidationError": (400, "Sender"),
}
OPERATIONS = {
    "iam": {"GetUser", "ListUsers", "ListRoles", "ListAccessKeys", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"},
    "sts": {"GetCallerIdentity"},
}


class QueryJudge(Judge):
    """The query protocol: XML, which is compared with the model after it has become what JSON would be."""

    def judge(self, operation):
        status, headers, body = self.answer
        model = self.model.operation_model(operation)
        if headers.get("content-type") != "text/xml":
            self.say(operation, f"content type {headers.get('content-type')}")
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", headers.get("x-amzn-requestid", "")):
            self.say(operation, "no request id")
        self.namespace = "{" + self.model.metadata["xmlNamespace"] + "}"
        root = ElementTree.fromstring(body)
        members = {self.name(operation, member): member for member in root}
        if status == 200:
            self.succeeded.add(operation)
            self.of_success(operation, model, root, members, headers)
        else:
            self.failed.add(operation)
            self.of_failure(operation, model, status, root, members, headers)

    def of_success(self, operation, model, root, members, headers):
        if self.name(operation, root) != f"{operation}Response":
            self.say(operation, f"the answer is a {root.tag}")
        expected = {"ResponseMetadata"}
        if model.output_shape is not None:
            expected.add(model.output_shape.serialization["resultWrapper"])
        if set(members) != expected:
            return self.say(operation, f"{set(members)} instead of {expected}")
        ids = [(self.name(operation, child), child.text) for child in members.pop("ResponseMetadata")]
        if ids != [("RequestId", headers["x-amzn-requestid"])]:
            self.say(operation, f"another request id than in the header: {ids}")
        for result in members.values():
            value = self.value(operation, model.output_shape, result)
            self.shape(operation, model.output_shape, value, operation)

    def of_failure(self, operation, model, status, root, members, headers):
        if self.name(operation, root) != "ErrorResponse" or set(members) != {"Error", "RequestId"}:
            return self.say(operation, f"an error of another form: {root.tag} with {set(members)}")
        if members["RequestId"].text != headers["x-amzn-requestid"]:
            self.say(operation, "another request id than in the header")
        error = {self.name(operation, member): member.text for member in members["Error"]}
        if set(error) != {"Type", "Code", "Message"} or not error["Message"]:
            return self.say(operation, f"an error of another form: {error}")
        listed = {}
        for shape in model.error_shapes:
            of_model = shape.metadata["error"]
            fault = "Sender" if of_model.get("senderFault") else "Receiver"
            listed[of_model["code"]] = (of_model["httpStatusCode"], fault)
        expected = {**COMMON, **listed}.get(error["Code"])
        if (status, error["Type"]) != expected:
            self.say(operation, f"{error['Code']} with {status} and {error['Type']} instead of {expected}")

    def name(self, operation, element):
        if not element.tag.startswith(self.namespace):
            self.say(operation, f"{element.tag} is not in the namespace {self.namespace}")
        return element.tag.rsplit("}", 1)[-1]

    def value(self, operation, shape, element):
        """What an element is by the model; where it cannot be that, its text, which is judged wrong then."""
        text = element.text or ""
        kind = shape.type_name if shape else "string"
        if kind == "structure":
            value = {}
            for child in element:
                name = self.name(operation, child)
                if name in value:
                    self.say(operation, f"{name} is there twice")
                value[name] = self.value(operation, shape.members.get(name), child)
            return value
        if kind == "list":
            if any(self.name(operation, child) != "member" for child in element):
                self.say(operation, f"{element.tag} has other elements than member")
            return [self.value(operation, shape.member, child) for child in element]
        if kind == "boolean":
            return {"true": True, "false": False}.get(text, text)
        if kind in ("integer", "long"):
            return int(text) if text.isdigit() else text
        if kind == "timestamp":
            try:
                return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").timestamp()
            except ValueError:
                return text
        return text


def control(url, **change):
    request = urllib.request.Request(f"{url}/kms-double/control", json.dumps(change).encode())
    urllib.request.urlopen(request).close()


def users_and_roles(url, iam, sts):
    call = iam.call
    call("GetUser")
    call("GetUser", UserName="Bob")
    call("GetUser", "NoSuchEntity", UserName="Nobody")
    for operation in ("ListUsers", "ListRoles"):
        call(operation)
        call(operation, PathPrefix="/teams/")
        call(operation, "ValidationError", MaxItems=0)
    first = call("ListUsers", MaxItems=1)
    if not first.get("IsTruncated"):
        iam.say("ListUsers", "two users are in one part of one")
    call("ListUsers", Marker=first.get("Marker", ""))
    sts.call("GetCallerIdentity")
    call("ListGroups", "InvalidAction")
    sts.call("GetSessionToken", "InvalidAction")
    for judge, operation in ((iam, "ListUsers"), (sts, "GetCallerIdentity")):
        control(url, Deny=[operation])
        judge.call(operation, "AccessDenied")
        control(url, Clear=True)
        for trouble, code in (("Throttled", "Throttling"), ("Internal", "ServiceFailure")):
            control(url, Inject=[{"Operation": operation, "Occurrence": 1, "Trouble": trouble}])
            judge.call(operation, code)


def access_keys(iam):
    call = iam.call
    call("ListAccessKeys")
    call("ListAccessKeys", "NoSuchEntity", UserName="Nobody")
    key = {"AccessKeyId": call("CreateAccessKey")["AccessKey"]["AccessKeyId"]}
    call("CreateAccessKey", UserName="ALICE")
    call("CreateAccessKey", "LimitExceeded")
    call("CreateAccessKey", "NoSuchEntity", UserName="Nobody")
    first = call("ListAccessKeys", MaxItems=1)
    call("ListAccessKeys", Marker=first.get("Marker", ""))
    call("UpdateAccessKey", **key, Status="Inactive")
    call("UpdateAccessKey", "ValidationError", **key, Status="Gone")
    call("UpdateAccessKey", "NoSuchEntity", UserName="Bob", **key, Status="Active")
    call("ListAccessKeys")
    call("DeleteAccessKey", **key)
    call("DeleteAccessKey", "NoSuchEntity", **key)


def signatures(url, access_key_id, secret):
    judges = []
    for credentials, code in (
        ((access_key_id, secret), None),
        ((access_key_id, "another secret"), "SignatureDoesNotMatch"),
        (("AKIAUNKNOWN", secret), "InvalidClientTokenId"),
    ):
        for service, operation in (("iam", "GetUser"), ("sts", "GetCallerIdentity")):
            judge = QueryJudge(url, service, credentials)
            judge.call(operation, code)
            judges.append(judge)
    return judges


def main():
    url, verifying, *credentials = sys.argv[1:]
    iam, sts = QueryJudge(url, "iam"), QueryJudge(url, "sts")
    users_and_roles(url, iam, sts)
    access_keys(iam)
    wrong = [what for judge in (iam, sts, *signatures(verifying, *credentials)) for what in judge.wrong]
    for service, judge in (("iam", iam), ("sts", sts)):
        for operation in sorted(OPERATIONS[service] - (judge.succeeded & judge.failed)):
            wrong.append(f"{operation}: not judged with success and with an error")
    for what in wrong:
        print(what)
    sys.exit(1 if wrong else 0)


main()
