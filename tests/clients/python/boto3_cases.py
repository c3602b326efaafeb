"""boto3 with its defaults against a server, called by tests/clients.sh with the client's name, as two versions run it."""

import hashlib
import json
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from checks import BIG, ENDPOINT, HOST, MANY, ODD_KEYS, case, main, same

BUCKET = "clients-" + sys.argv[1].replace("_", "-")
FOLDER = Path(tempfile.mkdtemp())

s3 = boto3.client("s3", endpoint_url=ENDPOINT)
iam = boto3.client("iam", endpoint_url=ENDPOINT)


def put(key, body):
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def get(key, **query):
    return s3.get_object(Bucket=BUCKET, Key=key, **query)["Body"].read()


def put_and_get(key, body):
    put(key, body)
    same(key, get(key), body)


def keys(**query):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **query)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def refused(code, function, **arguments):
    """The answer's error, whose code must be this one."""
    try:
        function(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response["Error"]
        return error.response["Error"]
    raise AssertionError(f"{code} expected")


@case
def make_a_bucket():
    s3.create_bucket(Bucket=BUCKET)
    assert BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


@case
def put_and_get_empty_5_kB_and_100_KiB():
    put_and_get("empty", b"")
    put_and_get("dir/small", BIG[:5000])
    put_and_get("dir/medium", BIG[: 100 << 10])


@case
def metadata_and_etag():
    s3.put_object(Bucket=BUCKET, Key="typed", Body=b"hello", ContentType="text/x-strata", Metadata={"colour": "green"})
    got = s3.head_object(Bucket=BUCKET, Key="typed")
    assert (got["ContentType"], got["Metadata"], got["ContentLength"]) == ("text/x-strata", {"colour": "green"}, 5)
    assert got["ETag"] == '"%s"' % hashlib.md5(b"hello").hexdigest()


@case
def upload_and_download_20_MiB_in_parts():
    (FOLDER / "big").write_bytes(BIG)
    s3.upload_file(str(FOLDER / "big"), BUCKET, "dir/big")
    assert s3.head_object(Bucket=BUCKET, Key="dir/big")["ETag"].endswith('-3"')
    s3.download_file(BUCKET, "dir/big", str(FOLDER / "back"))
    same("dir/big", (FOLDER / "back").read_bytes(), BIG)


@case
def ranges():
    same("a range", get("dir/big", Range="bytes=8388600-8388615"), BIG[8388600:8388616])
    same("the end", get("dir/big", Range="bytes=-9"), BIG[-9:])


@case
def an_empty_body_then_others_on_the_same_connection():
    # Before 1.43 botocore takes a final answer without a body for an answer to the request behind it.
    begin = time.monotonic()
    for body in [b"x" * 100, b"y" * 200_000, b""]:
        put("kept", b"")
        put_and_get("kept", body)
    refused("PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="kept", Body=b"", IfNoneMatch="*")
    put_and_get("kept", b"z" * 100)
    refused("NoSuchBucket", s3.put_object, Bucket="clients-missing", Key="kept", Body=b"")
    put_and_get("kept", b"w" * 100)
    assert time.monotonic() - begin < 30, "a request has waited for the end of an idle connection"


@case
def every_checksum():
    for algorithm in ["CRC32", "SHA1", "SHA256"]:
        s3.put_object(Bucket=BUCKET, Key="sum", Body=b"x" * 100_000, ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        assert got["Body"].read() == b"x" * 100_000
        assert f"Checksum{algorithm}" in got, got.keys()


@case
def odd_keys():
    odd = ODD_KEYS + ["odd/a//b", "odd/a/", "odd/tab\tkey"]
    for key in odd:
        put_and_get(key, key.encode())
    assert keys(Prefix="odd/") == sorted(odd, key=str.encode)


@case
def list_1001_keys_by_pages_and_by_folder():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(f"many/{number % 30:02}/{number:04}", b""), range(MANY)))
    assert len(keys(Prefix="many/")) == MANY
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="many/", Delimiter="/", PaginationConfig={"PageSize": 7}
    )
    found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
    assert found == [f"many/{number:02}/" for number in range(30)], found
    old = s3.get_paginator("list_objects").paginate(Bucket=BUCKET, Prefix="many/")
    assert sum(len(page["Contents"]) for page in old) == MANY


@case
def list_with_optional_attributes():
    assert len(keys(Prefix="dir/", OptionalObjectAttributes=["RestoreStatus"])) == 3


@case
def copy_names_with_a_space_and_with_a_plus():
    for key in ["copy/a b", "copy/a+b"]:
        put(key, key.encode())
    for key in ["copy/a b", "copy/a+b"]:
        s3.copy({"Bucket": BUCKET, "Key": key}, BUCKET, key + ".copy")
        same(key, get(key + ".copy"), key.encode())
    s3.copy({"Bucket": BUCKET, "Key": "dir/big"}, BUCKET, "copy/big")
    same("copy/big", get("copy/big"), BIG)


@case
def a_bucket_named_by_the_host():
    # Not every resolver knows names below localhost.
    look_up = socket.getaddrinfo
    server, port = HOST.rsplit(":", 1)
    socket.getaddrinfo = lambda host, *rest, **more: look_up(
        server if host.endswith("localhost") else host, *rest, **more
    )
    style = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    by_host = boto3.client("s3", endpoint_url=f"http://localhost:{port}", config=style)
    for key in ODD_KEYS:
        by_host.put_object(Bucket=BUCKET, Key="host/" + key, Body=key.encode())
        same(key, get("host/" + key), key.encode())
    found = by_host.list_objects_v2(Bucket=BUCKET, Prefix="host/")["Contents"]
    assert len(found) == len(ODD_KEYS), found
    address = by_host.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "host/" + ODD_KEYS[0]})
    assert address.startswith(f"http://{BUCKET}.localhost:{port}/host/"), address
    same("presigned", urllib.request.urlopen(address).read(), ODD_KEYS[0].encode())


@case
def presigned_PUT_and_GET():
    signer = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version="s3v4"))
    query = {"Bucket": BUCKET, "Key": "presigned + ä"}
    request = urllib.request.Request(signer.generate_presigned_url("put_object", query), BIG[:5000], method="PUT")
    urllib.request.urlopen(request).read()
    same("presigned", urllib.request.urlopen(signer.generate_presigned_url("get_object", query)).read(), BIG[:5000])


def send_form(post, content):
    """What a browser sends: the fields, then the file. The answer's status."""
    parts = [f'name="{name}"\r\n\r\n{value}' for name, value in post["fields"].items()]
    parts.append(f'name="file"; filename="browser.txt"\r\nContent-Type: text/plain\r\n\r\n{content}')
    body = "".join(f"--form\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--form--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=form"}
    request = urllib.request.Request(post["url"], body.encode(), headers, method="POST")
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


@case
def a_presigned_form():
    signer = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version="s3v4"))
    conditions = [["content-length-range", 1, 100], {"acl": "private"}]
    post = signer.generate_presigned_post(BUCKET, "form/${filename}", {"acl": "private"}, conditions)
    assert send_form(post, "from a browser") == 204
    same("form", get("form/browser.txt"), b"from a browser")
    assert send_form(post, "x" * 101) == 400, "a longer file"
    post["fields"]["x-amz-meta-a"] = "b"
    assert send_form(post, "x") == 403, "a field that the policy does not name"


@case
def a_presigned_address_of_version_2_is_refused_with_the_remedy():
    address = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "typed"})
    if "X-Amz-Signature=" in address:
        same("typed", urllib.request.urlopen(address).read(), b"hello")
        return
    try:
        urllib.request.urlopen(address)
    except urllib.error.HTTPError as error:
        assert error.code == 400 and b"s3v4" in error.read()
        return
    raise AssertionError("accepted")


@case
def conditions():
    refused("PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="typed", Body=b"x", IfNoneMatch="*")
    etag = s3.head_object(Bucket=BUCKET, Key="typed")["ETag"]
    s3.put_object(Bucket=BUCKET, Key="typed", Body=b"hello", IfMatch=etag)
    refused("304", s3.head_object, Bucket=BUCKET, Key="typed", IfNoneMatch=etag)


@case
def what_tools_ask_of_a_bucket():
    grants = s3.get_bucket_acl(Bucket=BUCKET)["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL"], grants
    assert "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=BUCKET)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=BUCKET)
    assert s3.get_bucket_request_payment(Bucket=BUCKET)["Payer"] == "BucketOwner"
    for code, function in [
        ("NoSuchBucketPolicy", s3.get_bucket_policy),
        ("ServerSideEncryptionConfigurationNotFoundError", s3.get_bucket_encryption),
        ("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration),
        ("ObjectLockConfigurationNotFoundError", s3.get_object_lock_configuration),
        ("NoSuchTagSet", s3.get_bucket_tagging),
        ("NoSuchCORSConfiguration", s3.get_bucket_cors),
        ("ReplicationConfigurationNotFoundError", s3.get_bucket_replication),
        ("NoSuchPublicAccessBlockConfiguration", s3.get_public_access_block),
    ]:
        refused(code, function, Bucket=BUCKET)


@case
def tags():
    s3.put_object(Bucket=BUCKET, Key="tagged", Body=b"x", Tagging="team=storage+more&stage=")
    tags = s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"]
    assert tags == [{"Key": "team", "Value": "storage more"}, {"Key": "stage", "Value": ""}], tags
    s3.put_object_tagging(Bucket=BUCKET, Key="tagged", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert s3.get_object(Bucket=BUCKET, Key="tagged")["TagCount"] == 1
    s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "tagged"})
    assert s3.get_object_tagging(Bucket=BUCKET, Key="copied")["TagSet"] == [{"Key": "a", "Value": "1"}]
    s3.delete_object_tagging(Bucket=BUCKET, Key="tagged")
    assert s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"] == []


@case
def errors():
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="missing")
    refused("404", s3.head_object, Bucket=BUCKET, Key="missing")
    refused("NoSuchBucket", s3.list_objects_v2, Bucket="clients-missing")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=BUCKET)
    long = {f"m{number}": "x" * 3000 for number in range(6)}
    refused("MetadataTooLarge", s3.put_object, Bucket=BUCKET, Key="long", Body=b"x", Metadata=long)


@case
def a_refused_header_is_named_in_the_message():
    error = refused(
        "NotImplemented", s3.put_object, Bucket=BUCKET, Key="sealed", Body=b"x", ServerSideEncryption="aws:kms"
    )
    assert "x-amz-server-side-encryption" in error["Message"], error


@case
def delete_many_and_remove_the_bucket():
    listed = keys()
    for at in range(0, len(listed), 1000):
        batch = listed[at : at + 1000]
        answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in batch]})
        assert len(answer["Deleted"]) == len(batch) and "Errors" not in answer
    assert keys() == []
    s3.delete_bucket(Bucket=BUCKET)


@case
def a_user_with_a_key_and_policies_by_calls_of_iam():
    name, group, policy = BUCKET + "-user", BUCKET + "-group", BUCKET + "-policy"
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
    )
    assert iam.create_user(UserName=name, Path="/clients/")["User"]["Arn"].endswith(f":user/clients/{name}")
    key = iam.create_access_key(UserName=name)["AccessKey"]
    keys_of_user = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    as_user = boto3.client("s3", endpoint_url=ENDPOINT, **keys_of_user)
    refused("AccessDenied", as_user.list_buckets)
    arn = iam.create_policy(PolicyName=policy, PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    as_user.list_buckets()
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert found == json.loads(document), found
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document.replace("Allow", "Deny"), SetAsDefault=True)
    refused("AccessDenied", as_user.list_buckets)
    iam.create_group(GroupName=group)
    iam.add_user_to_group(GroupName=group, UserName=name)
    iam.put_group_policy(GroupName=group, PolicyName="own", PolicyDocument=document)
    assert iam.get_group_policy(GroupName=group, PolicyName="own")["PolicyDocument"] == json.loads(document)
    pages = iam.get_paginator("list_users").paginate(PathPrefix="/clients/", PaginationConfig={"PageSize": 1})
    assert name in [user["UserName"] for page in pages for user in page["Users"]]
    refused("DeleteConflict", iam.delete_user, UserName=name)
    refused("NoSuchEntity", iam.get_login_profile, UserName=name)
    refused("NotImplemented", iam.tag_user, UserName=name, Tags=[{"Key": "k", "Value": "v"}])
    iam.detach_user_policy(UserName=name, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_group_policy(GroupName=group, PolicyName="own")
    iam.remove_user_from_group(GroupName=group, UserName=name)
    iam.delete_group(GroupName=group)
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName=name)
    refused("NoSuchEntity", iam.get_user, UserName=name)


main(sys.argv[1])
