"""s3fs, fsspec's S3 file system, with its defaults against a server; called by tests/clients.sh."""

import urllib.request

import s3fs

from checks import BIG, ENDPOINT, MANY, ODD_KEYS, case, main, same

BUCKET = "clients-s3fs"

s3 = s3fs.S3FileSystem(endpoint_url=ENDPOINT)


def put_and_get(key, body):
    s3.pipe_file(f"{BUCKET}/{key}", body)
    same(key, s3.cat_file(f"{BUCKET}/{key}"), body)


@case
def make_a_bucket():
    s3.mkdir(BUCKET)
    assert s3.exists(BUCKET)


@case
def put_and_get_empty_5_kB_and_100_KiB():
    put_and_get("empty", b"")
    put_and_get("dir/small", BIG[:5000])
    put_and_get("dir/medium", BIG[: 100 << 10])


@case
def write_and_read_20_MiB_in_parts():
    with s3.open(f"{BUCKET}/big", "wb", block_size=5 << 20) as file:
        file.write(BIG)
    with s3.open(f"{BUCKET}/big", "rb") as file:
        same("big", file.read(), BIG)


@case
def a_range_and_the_size():
    same("a range", s3.cat_file(f"{BUCKET}/big", start=5 << 20, end=(5 << 20) + 10), BIG[5 << 20 : (5 << 20) + 10])
    assert s3.info(f"{BUCKET}/big")["size"] == len(BIG)


@case
def an_empty_file_then_one_of_100_bytes():
    s3.touch(f"{BUCKET}/kept")
    put_and_get("kept", b"x" * 100)


@case
def odd_keys():
    for key in ODD_KEYS:
        put_and_get(key, key.encode())
    assert sorted(s3.find(f"{BUCKET}/odd")) == sorted(f"{BUCKET}/{key}" for key in ODD_KEYS)


@case
def copy_and_move_names_with_a_space_and_with_a_plus():
    for key in ["copy/a b", "copy/a+b"]:
        put_and_get(key, key.encode())
    for key in ["copy/a b", "copy/a+b"]:
        s3.copy(f"{BUCKET}/{key}", f"{BUCKET}/{key}.copy")
        s3.mv(f"{BUCKET}/{key}.copy", f"{BUCKET}/{key}.moved")
        same(key, s3.cat_file(f"{BUCKET}/{key}.moved"), key.encode())
    s3.copy(f"{BUCKET}/big", f"{BUCKET}/copy/big")
    same("copy/big", s3.cat_file(f"{BUCKET}/copy/big"), BIG)


@case
def presigned_GET():
    signer = s3fs.S3FileSystem(endpoint_url=ENDPOINT, config_kwargs={"signature_version": "s3v4"})
    same("dir/small", urllib.request.urlopen(signer.sign(f"{BUCKET}/dir/small")).read(), BIG[:5000])


@case
def list_1001_keys_by_folder():
    s3.pipe({f"{BUCKET}/many/{number:04}": b"x" for number in range(MANY)})
    s3.invalidate_cache()
    assert len(s3.ls(f"{BUCKET}/many")) == MANY
    assert f"{BUCKET}/many" in s3.ls(BUCKET)


@case
def remove_a_folder_and_then_the_bucket_with_all_in_it():
    s3.rm(f"{BUCKET}/many", recursive=True)
    s3.invalidate_cache()
    assert not s3.exists(f"{BUCKET}/many")
    s3.rm(BUCKET, recursive=True)
    s3.invalidate_cache()
    assert not s3.exists(BUCKET)


main("s3fs")
