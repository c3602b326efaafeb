//! One node, from outside: the real binary on real disk, spoken to as its users do. See docs/TESTING.md.
//!
//! Tests that leave the server as it was share one; those that kill, fill or break it have their own.

mod access_lists;
mod accounts;
mod block_devices;
mod bucket_settings;
mod buckets;
mod checksums;
mod coded;
mod conditional;
mod connections;
mod copies;
mod corruption;
mod cors;
mod crash;
mod crash_versions;
mod devices;
mod first_start;
mod full_device;
mod iam;
mod listing;
mod multipart;
mod object_attributes;
mod object_lock;
mod object_lock_ways;
mod object_tags;
mod objects;
mod old_devices;
mod packing;
mod policies;
mod post_forms;
mod refusals;
mod restarts;
mod root_key;
mod sick_disks;
mod signatures;
mod starts;
mod sts;
mod tls;
mod users;
mod versions;
mod virtual_hosts;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use std::sync::OnceLock;
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions};
use strata_tests::signature::Payload;

/// The server that tests share; it lives as long as the process.
fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::start(ServerOptions::default()))
}

/// A client of the shared server and a new bucket of this name.
async fn bucket(name: &str) -> (Client, String) {
    let client = shared().client();
    client
        .create_bucket()
        .bucket(name)
        .send()
        .await
        .expect("a new bucket");
    (client, name.to_string())
}

/// Sends a request made by hand to a server, signed with the root key.
fn send_to(server: &Server, request: Request) -> std::io::Result<Response> {
    let signer = server.signer();
    let request = signer.sign(request, server.s3(), Payload::Hashed, None);
    request.send(server.s3())
}

/// The answer of the shared server to a request made by hand.
fn send(request: Request) -> Response {
    send_to(shared(), request).expect("an answer")
}

async fn put(client: &Client, bucket: &str, key: &str, body: &[u8]) {
    let body = ByteStream::from(body.to_vec());
    let put = client
        .put_object()
        .bucket(bucket)
        .key(key)
        .body(body)
        .send()
        .await;
    put.unwrap_or_else(|error| panic!("put {key}: {error:?}"));
}

async fn get(client: &Client, bucket: &str, key: &str) -> Vec<u8> {
    let got = client.get_object().bucket(bucket).key(key).send().await;
    let got = got.unwrap_or_else(|error| panic!("get {key}: {error:?}"));
    let body = got
        .body
        .collect()
        .await
        .unwrap_or_else(|error| panic!("body of {key}: {error:?}"));
    body.into_bytes().to_vec()
}

/// Every key of a bucket, page after page.
async fn keys(client: &Client, bucket: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let list = client
            .list_objects_v2()
            .bucket(bucket)
            .set_continuation_token(token);
        let page = list.send().await.expect("a list");
        found.extend(
            page.contents()
                .iter()
                .map(|object| object.key().unwrap_or("").to_string()),
        );
        token = page.next_continuation_token().map(str::to_string);
        if token.is_none() {
            return found;
        }
    }
}

/// What went wrong, as S3 says it: status and code. Panics where nothing did.
fn failure<T, E>(outcome: Result<T, SdkError<E>>) -> (u16, String)
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    match outcome {
        Ok(_) => panic!("this should have failed"),
        Err(SdkError::ServiceError(error)) => {
            let code = error.err().code().unwrap_or("").to_string();
            (error.raw().status().as_u16(), code)
        }
        Err(error) => panic!("no answer: {error:?}"),
    }
}

/// Shorthand to compare with [`failure`].
fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_string())
}
