"""duckdb over pyarrow's S3 file system against a server, called by tests/clients.sh.

duckdb's own S3 client is an extension that it downloads from its maker when it runs, and on no package registry.
"""

import threading

import duckdb
from pyarrow.fs import S3FileSystem
from fsspec.implementations.arrow import ArrowFSWrapper

from checks import ACCESS_KEY, HOST, SECRET_KEY, case, main

BUCKET = "clients-duckdb"


s3 = S3FileSystem(
    access_key=ACCESS_KEY, secret_key=SECRET_KEY, endpoint_override=HOST, scheme="http", allow_bucket_creation=True,
    allow_bucket_deletion=True,
)


class SharedFile:
    """A file that several threads read, each at a position of its own.

    duckdb 2.0.1 reads one Python file from many threads, each by a seek and then a read: with one position for all of
    them a thread reads where another has moved to.
    """

    def __init__(self, file):
        self.file, self.position = file, threading.local()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def seek(self, at):
        self.position.at = at
        return at

    def read(self, count):
        at = getattr(self.position, "at", 0)
        got = self.file.stream.read_at(count, at)
        self.position.at = at + len(got)
        return got


class FileSystem(ArrowFSWrapper):
    def open(self, path, mode="rb", **options):
        file = super().open(path, mode, **options)
        return SharedFile(file) if mode == "rb" else file


database = duckdb.connect()
database.register_filesystem(FileSystem(s3))


def rows(query):
    return database.sql(query).fetchall()


@case
def make_a_bucket():
    s3.create_dir(BUCKET)


@case
def write_and_read_a_parquet_file():
    database.sql(f"COPY (SELECT range AS n, md5(range::VARCHAR) AS m FROM range(200000)) TO 's3://{BUCKET}/n.parquet'")
    found = rows(f"SELECT count(*), sum(n), count_if(m = md5(n::VARCHAR)) FROM 's3://{BUCKET}/n.parquet'")
    assert found == [(200_000, 19_999_900_000, 200_000)], found


@case
def read_one_row_by_ranges():
    assert rows(f"SELECT n FROM 's3://{BUCKET}/n.parquet' WHERE n = 123456") == [(123456,)]


@case
def write_20_MB_of_CSV_in_parts_and_read_it():
    database.sql(f"COPY (SELECT range AS n, sha256(range::VARCHAR) AS s FROM range(300000)) TO 's3://{BUCKET}/n.csv'")
    assert s3.get_file_info(f"{BUCKET}/n.csv").size > 20_000_000
    found = rows(f"SELECT count(*), count_if(s = sha256(n::VARCHAR)) FROM 's3://{BUCKET}/n.csv'")
    assert found == [(300_000, 300_000)], found


@case
def read_many_files_by_a_pattern():
    for part in range(3):
        database.sql(f"COPY (SELECT {part} AS part, range AS n FROM range(10)) TO 's3://{BUCKET}/parts/p {part}+.parquet'")
    assert rows(f"SELECT count(*), sum(part) FROM 's3://{BUCKET}/parts/*.parquet'") == [(30, 30)]


@case
def remove_the_bucket_with_all_in_it():
    s3.delete_dir(BUCKET)


main("duckdb")
