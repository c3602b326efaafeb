"""pyarrow's S3 file system, which is the AWS SDK for C++, with its defaults against a server; called by tests/clients.sh."""

import pyarrow
import pyarrow.dataset
import pyarrow.parquet
from pyarrow.fs import FileSelector, FileType, S3FileSystem

from checks import ACCESS_KEY, BIG, HOST, MANY, ODD_KEYS, SECRET_KEY, case, main, same

BUCKET = "clients-pyarrow"

s3 = S3FileSystem(
    access_key=ACCESS_KEY, secret_key=SECRET_KEY, endpoint_override=HOST, scheme="http", allow_bucket_creation=True,
    allow_bucket_deletion=True,
)


def put_and_get(key, body):
    with s3.open_output_stream(f"{BUCKET}/{key}") as stream:
        stream.write(body)
    with s3.open_input_stream(f"{BUCKET}/{key}") as stream:
        same(key, stream.read(), body)


@case
def make_a_bucket():
    s3.create_dir(BUCKET)
    assert s3.get_file_info(BUCKET).type == FileType.Directory


@case
def put_and_get_empty_5_kB_and_100_KiB():
    put_and_get("empty", b"")
    put_and_get("dir/small", BIG[:5000])
    put_and_get("dir/medium", BIG[: 100 << 10])


@case
def put_and_get_20_MiB_in_parts():
    put_and_get("big", BIG)


@case
def a_range_and_the_size():
    with s3.open_input_file(f"{BUCKET}/big") as file:
        assert file.size() == len(BIG)
        same("a range", file.read_at(10, 5 << 20), BIG[5 << 20 : (5 << 20) + 10])
    assert s3.get_file_info(f"{BUCKET}/missing").type == FileType.NotFound


@case
def an_empty_body_then_one_of_100_bytes():
    put_and_get("kept", b"")
    put_and_get("kept", b"x" * 100)


@case
def odd_keys():
    for key in ODD_KEYS:
        put_and_get(key, key.encode())
    found = s3.get_file_info(FileSelector(f"{BUCKET}/odd", recursive=True))
    files = sorted(entry.path for entry in found if entry.type == FileType.File)
    assert files == sorted(f"{BUCKET}/{key}" for key in ODD_KEYS), files


@case
def copy_and_move_names_with_a_space_and_with_a_plus():
    for key in ["copy/a b", "copy/a+b"]:
        put_and_get(key, key.encode())
    for key in ["copy/a b", "copy/a+b"]:
        s3.copy_file(f"{BUCKET}/{key}", f"{BUCKET}/{key}.copy")
        s3.move(f"{BUCKET}/{key}.copy", f"{BUCKET}/{key}.moved")
        with s3.open_input_stream(f"{BUCKET}/{key}.moved") as stream:
            same(key, stream.read(), key.encode())


@case
def write_and_read_a_partitioned_parquet_table():
    table = pyarrow.table({"year": [number % 3 for number in range(9000)], "value": list(range(9000))})
    pyarrow.dataset.write_dataset(
        table, f"{BUCKET}/table", filesystem=s3, format="parquet", partitioning=["year"], partitioning_flavor="hive"
    )
    back = pyarrow.parquet.read_table(f"{BUCKET}/table", filesystem=s3)
    assert sorted(back["value"].to_pylist()) == list(range(9000))


@case
def list_1001_keys():
    for number in range(MANY):
        with s3.open_output_stream(f"{BUCKET}/many/{number:04}"):
            pass
    assert len(s3.get_file_info(FileSelector(f"{BUCKET}/many"))) == MANY


@case
def delete_a_folder_and_remove_the_bucket():
    s3.delete_dir(f"{BUCKET}/many")
    assert s3.get_file_info(f"{BUCKET}/many").type == FileType.NotFound
    s3.delete_dir(BUCKET)
    assert s3.get_file_info(BUCKET).type == FileType.NotFound


main("pyarrow")
