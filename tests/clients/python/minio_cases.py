"""minio-py with its defaults against a server, called by tests/clients.sh."""

import io
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.deleteobjects import DeleteObject

from checks import ACCESS_KEY, BIG, HOST, MANY, ODD_KEYS, SECRET_KEY, case, main, same

BUCKET = "clients-minio-py"

client = Minio(HOST, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)


def put(key, body):
    client.put_object(BUCKET, key, io.BytesIO(body), len(body))


def get(key, **query):
    response = client.get_object(BUCKET, key, **query)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def put_and_get(key, body):
    put(key, body)
    same(key, get(key), body)


def keys(prefix="", **query):
    return [entry.object_name for entry in client.list_objects(BUCKET, prefix=prefix, **query)]


@case
def make_a_bucket():
    client.make_bucket(BUCKET)
    assert client.bucket_exists(BUCKET)


@case
def put_and_get_empty_5_kB_and_100_KiB():
    put_and_get("empty", b"")
    put_and_get("dir/small", BIG[:5000])
    put_and_get("dir/medium", BIG[: 100 << 10])


@case
def put_and_get_20_MiB_in_parts():
    put_and_get("big", BIG)


@case
def put_a_stream_of_unknown_length():
    client.put_object(BUCKET, "stream", io.BytesIO(BIG), -1, part_size=8 << 20)
    same("stream", get("stream"), BIG)


@case
def a_range_and_the_size():
    same("a range", get("big", offset=5 << 20, length=10), BIG[5 << 20 : (5 << 20) + 10])
    assert client.stat_object(BUCKET, "big").size == len(BIG)


@case
def content_type_and_metadata():
    client.put_object(BUCKET, "typed", io.BytesIO(b"x"), 1, content_type="text/x-strata", metadata={"colour": "green"})
    found = client.stat_object(BUCKET, "typed")
    assert (found.content_type, found.metadata["x-amz-meta-colour"]) == ("text/x-strata", "green")


@case
def an_empty_body_then_one_of_100_bytes():
    put("kept", b"")
    put_and_get("kept", b"x" * 100)


@case
def odd_keys():
    for key in ODD_KEYS:
        put_and_get(key, key.encode())
    assert keys("odd/", recursive=True) == sorted(ODD_KEYS, key=str.encode)


@case
def copy_names_with_a_space_and_with_a_plus():
    for key in ["copy/a b", "copy/a+b"]:
        put(key, key.encode())
    for key in ["copy/a b", "copy/a+b"]:
        client.copy_object(BUCKET, key + ".copy", CopySource(BUCKET, key))
        same(key, get(key + ".copy"), key.encode())


@case
def compose_40_MiB_of_two_copies():
    client.compose_object(BUCKET, "composed", [ComposeSource(BUCKET, "big"), ComposeSource(BUCKET, "big")])
    same("composed", get("composed"), BIG + BIG)


@case
def presigned_PUT_and_GET():
    address = client.presigned_put_object(BUCKET, "presigned + ä", expires=timedelta(hours=1))
    urllib.request.urlopen(urllib.request.Request(address, BIG[:5000], method="PUT")).read()
    address = client.presigned_get_object(BUCKET, "presigned + ä", expires=timedelta(hours=1))
    same("presigned", urllib.request.urlopen(address).read(), BIG[:5000])


@case
def list_1001_keys_by_pages_and_by_folder():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(f"many/{number:04}", b""), range(MANY)))
    assert len(keys("many/")) == MANY
    assert len(keys("many/", use_api_v1=True)) == MANY
    assert "many/" in keys()


@case
def delete_all_and_remove_the_bucket():
    doomed = [DeleteObject(key) for key in keys(recursive=True)]
    assert list(client.remove_objects(BUCKET, doomed)) == []
    assert keys(recursive=True) == []
    client.remove_bucket(BUCKET)


main("minio_py")
