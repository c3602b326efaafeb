// aws-sdk-js v3 with its defaults against a server, called by tests/clients.sh. The client chooses path style by itself,
// as the endpoint is an address.

import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";

import * as sdk from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

import { big, eachOf, endpoint, equal, fetchBytes, main, many, oddKeys, same, sorted } from "./checks.mjs";

const Bucket = "clients-aws-sdk-js";
const client = new sdk.S3Client({ endpoint });

const put = (Key, Body) => client.send(new sdk.PutObjectCommand({ Bucket, Key, Body }));

async function get(Key, query = {}) {
  const { Body } = await client.send(new sdk.GetObjectCommand({ Bucket, Key, ...query }));
  return Body.transformToByteArray();
}

async function putAndGet(key, body) {
  await put(key, body);
  same(key, await get(key), body);
}

async function keys(Prefix) {
  const found = [];
  for await (const page of sdk.paginateListObjectsV2({ client }, { Bucket, Prefix })) {
    found.push(...(page.Contents ?? []).map((entry) => entry.Key));
  }
  return found;
}

async function refused(name, command) {
  try {
    await client.send(command);
  } catch (error) {
    return equal("error", error.name, name);
  }
  throw new Error(`${name} expected`);
}

await main("aws_sdk_js", [
  [
    "make a bucket",
    async () => {
      await client.send(new sdk.CreateBucketCommand({ Bucket }));
    },
  ],
  [
    "put and get an empty body, 5 kB and 100 KiB",
    async () => {
      await putAndGet("empty", Buffer.alloc(0));
      await putAndGet("dir/small", randomBytes(5000));
      await putAndGet("dir/medium", randomBytes(100 << 10));
    },
  ],
  [
    "upload 20 MiB in parts",
    async () => {
      await new Upload({ client, params: { Bucket, Key: "big", Body: big } }).done();
      same("big", await get("big"), big);
    },
  ],
  [
    "put a stream with its length",
    async () => {
      // A body that cannot be read twice goes in chunks with a trailer.
      const Body = Readable.from([big.subarray(0, 3_000_000), big.subarray(3_000_000)]);
      await client.send(new sdk.PutObjectCommand({ Bucket, Key: "stream", Body, ContentLength: big.length }));
      same("stream", await get("stream"), big);
    },
  ],
  [
    "a range, and the size",
    async () => {
      same("range", await get("big", { Range: "bytes=5242875-5242884" }), big.subarray(5242875, 5242885));
      equal("size", (await client.send(new sdk.HeadObjectCommand({ Bucket, Key: "big" }))).ContentLength, big.length);
    },
  ],
  [
    "an empty body, then one of 100 bytes",
    async () => {
      await put("kept", Buffer.alloc(0));
      await putAndGet("kept", randomBytes(100));
    },
  ],
  [
    "odd keys",
    async () => {
      for (const key of oddKeys) await putAndGet(key, Buffer.from(key));
      equal("listed", await keys("odd/"), sorted(oddKeys));
    },
  ],
  [
    "copy names with a space and with a plus",
    async () => {
      for (const key of ["copy/a b", "copy/a+b"]) await put(key, key);
      for (const key of ["copy/a b", "copy/a+b"]) {
        const CopySource = `${Bucket}/${encodeURIComponent(key)}`;
        await client.send(new sdk.CopyObjectCommand({ Bucket, Key: key + ".copy", CopySource }));
        same(key, await get(key + ".copy"), Buffer.from(key));
      }
    },
  ],
  [
    "presigned PUT and GET",
    async () => {
      const query = { Bucket, Key: "presigned + ä" };
      const body = randomBytes(5000);
      await fetchBytes(await getSignedUrl(client, new sdk.PutObjectCommand(query)), body);
      same("presigned", await fetchBytes(await getSignedUrl(client, new sdk.GetObjectCommand(query))), body);
    },
  ],
  [
    "presigned UploadPart",
    async () => {
      const query = { Bucket, Key: "parts" };
      const body = randomBytes(5000);
      const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(query));
      const address = await getSignedUrl(client, new sdk.UploadPartCommand({ ...query, UploadId, PartNumber: 1 }));
      const response = await fetch(address, { method: "PUT", body });
      equal("status", [response.status, response.ok ? "" : await response.text()], [200, ""]);
      const Parts = [{ PartNumber: 1, ETag: response.headers.get("etag") }];
      await client.send(new sdk.CompleteMultipartUploadCommand({ ...query, UploadId, MultipartUpload: { Parts } }));
      same("parts", await get("parts"), body);
    },
  ],
  [
    "list 1,001 keys by pages and by folder",
    async () => {
      await eachOf(many, (number) => put(`many/${String(number).padStart(4, "0")}`, Buffer.alloc(0)));
      equal("keys", (await keys("many/")).length, many);
      const { CommonPrefixes } = await client.send(new sdk.ListObjectsV2Command({ Bucket, Delimiter: "/" }));
      equal("folder", CommonPrefixes.some(({ Prefix }) => Prefix === "many/"), true);
    },
  ],
  [
    "list with optional attributes",
    async () => {
      const OptionalObjectAttributes = ["RestoreStatus"];
      const page = await client.send(new sdk.ListObjectsV2Command({ Bucket, Prefix: "big", OptionalObjectAttributes }));
      equal("keys", page.Contents.length, 1);
    },
  ],
  [
    "errors by their names",
    async () => {
      await refused("NoSuchKey", new sdk.GetObjectCommand({ Bucket, Key: "missing" }));
      await refused("NotFound", new sdk.HeadObjectCommand({ Bucket, Key: "missing" }));
      await refused("PreconditionFailed", new sdk.PutObjectCommand({ Bucket, Key: "big", Body: "x", IfNoneMatch: "*" }));
    },
  ],
  [
    "delete all and remove the bucket",
    async () => {
      const doomed = await keys("");
      for (let at = 0; at < doomed.length; at += 1000) {
        const Objects = doomed.slice(at, at + 1000).map((Key) => ({ Key }));
        const answer = await client.send(new sdk.DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
        equal("deleted", [answer.Deleted.length, answer.Errors ?? []], [Objects.length, []]);
      }
      equal("left", await keys(""), []);
      await client.send(new sdk.DeleteBucketCommand({ Bucket }));
    },
  ],
]);
