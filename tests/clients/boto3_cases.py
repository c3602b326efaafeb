"""boto3 against a server: boto3_cases.py ENDPOINT FOLDER, called by tests/clients.sh, which made the files in FOLDER."""

import hashlib
import sys
import traceback
import urllib.request
from pathlib import Path

import boto3
import botocore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, FOLDER = sys.argv[1], Path(sys.argv[2])
BUCKET = "clients-boto3"
CASES = []


def case(function):
    """Registers a case under its docstring."""
    CASES.append(function)
    return function


def connect(**options):
    return boto3.client("s3", endpoint_url=ENDPOINT, config=Config(s3={"addressing_style": "path"}, **options))


s3 = connect(retries={"max_attempts": 1})
parts = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def keys(**query):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **query)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def refused(code, function, **arguments):
    try:
        function(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response["Error"]
        return
    raise AssertionError(f"{code} expected")


@case
def make_a_bucket():
    s3.create_bucket(Bucket=BUCKET)
    assert BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


@case
def small_body_with_metadata():
    s3.put_object(Bucket=BUCKET, Key="dir/small", Body=b"hello", ContentType="text/plain", Metadata={"colour": "green"})
    got = s3.get_object(Bucket=BUCKET, Key="dir/small")
    assert got["Body"].read() == b"hello"
    assert (got["ContentType"], got["Metadata"]) == ("text/plain", {"colour": "green"})
    assert got["ETag"] == '"%s"' % hashlib.md5(b"hello").hexdigest()


@case
def upload_64_mib_in_parts():
    s3.upload_file(str(FOLDER / "big"), BUCKET, "dir/big", Config=parts)
    assert s3.head_object(Bucket=BUCKET, Key="dir/big")["ETag"].endswith('-8"')


@case
def download_64_mib():
    s3.download_file(BUCKET, "dir/big", str(FOLDER / "boto3.big"), Config=parts)
    assert digest(FOLDER / "big") == digest(FOLDER / "boto3.big")


@case
def ranges():
    got = s3.get_object(Bucket=BUCKET, Key="dir/big", Range="bytes=8388600-8388615")
    with open(FOLDER / "big", "rb") as big:
        big.seek(8388600)
        assert got["Body"].read() == big.read(16)


@case
def every_checksum():
    for algorithm in ["CRC32", "SHA1", "SHA256"]:
        s3.put_object(Bucket=BUCKET, Key="sum", Body=b"x" * 100_000, ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        assert got["Body"].read() == b"x" * 100_000
        assert f"Checksum{algorithm}" in got, got.keys()


@case
def odd_keys():
    odd = ["ä ö/ü+%", "a//b", "a/", "tab\tkey", "q?x=1&y#z", "日本語"]
    for key in odd:
        s3.put_object(Bucket=BUCKET, Key="odd/" + key, Body=key.encode())
    assert keys(Prefix="odd/") == sorted("odd/" + key for key in odd)
    for key in odd:
        assert s3.get_object(Bucket=BUCKET, Key="odd/" + key)["Body"].read() == key.encode()


@case
def list_by_folder_and_page():
    for number in range(25):
        s3.put_object(Bucket=BUCKET, Key=f"page/{number:02}/x", Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="page/", Delimiter="/", PaginationConfig={"PageSize": 7}
    )
    found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
    assert found == [f"page/{number:02}/" for number in range(25)]


@case
def copy():
    s3.copy({"Bucket": BUCKET, "Key": "dir/big"}, BUCKET, "copy", Config=parts)
    s3.download_file(BUCKET, "copy", str(FOLDER / "boto3.copy"))
    assert digest(FOLDER / "big") == digest(FOLDER / "boto3.copy")


@case
def presigned():
    url = connect(signature_version="s3v4").generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "dir/small"})
    assert urllib.request.urlopen(url).read() == b"hello"


@case
def conditional():
    refused("PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="dir/small", Body=b"x", IfNoneMatch="*")


@case
def errors():
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="missing")
    refused("NoSuchBucket", s3.list_objects_v2, Bucket="clients-missing")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=BUCKET)


@case
def delete_many():
    listed = keys()
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in listed]})
    assert len(answer["Deleted"]) == len(listed) and "Errors" not in answer
    assert keys() == []
    s3.delete_bucket(Bucket=BUCKET)


print(f"boto3: {boto3.__version__}, botocore {botocore.__version__}, Python {sys.version.split()[0]}")
for function in CASES:
    name = function.__name__.replace("_", " ")
    try:
        function()
        print(f"ok      boto3: {name}")
    except Exception:
        print(f"FAILED  boto3: {name}")
        print("        " + traceback.format_exc().replace("\n", "\n        "))
print("boto3: done")
