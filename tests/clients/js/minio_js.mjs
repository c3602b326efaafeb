// minio-js with its defaults against a server, called by tests/clients.sh.

import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";

import * as minio from "minio";

import { accessKey, big, eachOf, endpoint, equal, fetchBytes, main, many, oddKeys, same, secretKey, sorted } from "./checks.mjs";

const bucket = "clients-minio-js";
const { hostname, port } = new URL(endpoint);
const client = new minio.Client({ endPoint: hostname, port: Number(port), useSSL: false, accessKey, secretKey });

const get = async (key) => buffer(await client.getObject(bucket, key));

async function putAndGet(key, body) {
  await client.putObject(bucket, key, body);
  same(key, await get(key), body);
}

async function keys(prefix, recursive, list = "listObjectsV2") {
  const found = [];
  for await (const entry of client[list](bucket, prefix, recursive)) found.push(entry.name ?? entry.prefix);
  return found;
}

await main("minio_js", [
  [
    "make a bucket",
    async () => {
      await client.makeBucket(bucket);
      equal("exists", await client.bucketExists(bucket), true);
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
    "put and get 20 MiB",
    () => putAndGet("big", big),
  ],
  [
    "put a stream of 80 MiB in parts",
    async () => {
      const pieces = [big, big, big, big];
      await client.putObject(bucket, "stream", Readable.from(pieces));
      same("stream", await get("stream"), Buffer.concat(pieces));
    },
  ],
  [
    "a range, and the size",
    async () => {
      const part = await buffer(await client.getPartialObject(bucket, "big", 5 << 20, 10));
      same("range", part, big.subarray(5 << 20, (5 << 20) + 10));
      equal("size", (await client.statObject(bucket, "big")).size, big.length);
    },
  ],
  [
    "content type and metadata",
    async () => {
      await client.putObject(bucket, "typed", "x", 1, { "Content-Type": "text/x-strata", colour: "green" });
      const { metaData } = await client.statObject(bucket, "typed");
      equal("metadata", [metaData["content-type"], metaData.colour], ["text/x-strata", "green"]);
    },
  ],
  [
    "an empty body, then one of 100 bytes",
    async () => {
      await client.putObject(bucket, "kept", Buffer.alloc(0));
      await putAndGet("kept", randomBytes(100));
    },
  ],
  [
    "odd keys",
    async () => {
      for (const key of oddKeys) await putAndGet(key, Buffer.from(key));
      equal("listed", await keys("odd/", true), sorted(oddKeys));
    },
  ],
  [
    "copy names with a space and with a plus",
    async () => {
      for (const key of ["copy/a b", "copy/a+b"]) await client.putObject(bucket, key, key);
      for (const key of ["copy/a b", "copy/a+b"]) {
        await client.copyObject(bucket, key + ".copy", `/${bucket}/${key}`);
        same(key, await get(key + ".copy"), Buffer.from(key));
      }
    },
  ],
  [
    "presigned PUT and GET",
    async () => {
      const body = randomBytes(5000);
      await fetchBytes(await client.presignedPutObject(bucket, "presigned + ä"), body);
      same("presigned", await fetchBytes(await client.presignedGetObject(bucket, "presigned + ä")), body);
    },
  ],
  [
    "list 1,001 keys by pages and by folder",
    async () => {
      await eachOf(many, (number) => client.putObject(bucket, `many/${String(number).padStart(4, "0")}`, ""));
      equal("keys", (await keys("many/", false)).length, many);
      equal("keys of version 1", (await keys("many/", false, "listObjects")).length, many);
      equal("folder", (await keys("", false)).includes("many/"), true);
    },
  ],
  [
    "delete all and remove the bucket",
    async () => {
      await client.removeObjects(bucket, await keys("", true));
      equal("left", await keys("", true), []);
      await client.removeBucket(bucket);
    },
  ],
]);
