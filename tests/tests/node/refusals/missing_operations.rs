//! Every operation that the table names and does not serve, sent to a server.

use super::assert_not_implemented;
use crate::{bucket, keys, put, send};
use std::collections::BTreeSet;
use strata_gateway::operation::{Addresses, Mark, OPERATIONS, Operation};
use strata_tests::http::Request;

/// Every operation that is not served.
fn missing() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(|row| row.handler.is_none())
}

/// The target of a request for an operation; the bucket has an object `k`.
fn target(bucket: &str, operation: &Operation) -> String {
    let mut path = match operation.addresses {
        Addresses::Service => "/".to_owned(),
        Addresses::Bucket => format!("/{bucket}"),
        Addresses::Object => format!("/{bucket}/k"),
    };
    let mut separator = '?';
    for mark in operation.marks {
        match mark {
            Mark::Query(name) => path.push_str(&format!("{separator}{name}")),
            Mark::QueryIs(name, value) => path.push_str(&format!("{separator}{name}={value}")),
            Mark::Path(name) => path = format!("/{name}"),
            Mark::Header(_) | Mark::Form => continue,
        }
        separator = '&';
    }
    path
}

/// A request for an operation, of a bucket that has an object `k`.
pub fn request(bucket: &str, operation: &Operation) -> Request {
    let request = Request::new(operation.method, &target(bucket, operation));
    let add = |request: Request, mark: &Mark| match mark {
        Mark::Header(name) => request.header(name, "x"),
        Mark::Form => request.header("content-type", "multipart/form-data; boundary=b"),
        Mark::Query(_) | Mark::QueryIs(..) | Mark::Path(_) => request,
    };
    operation.marks.iter().fold(request, add)
}

#[tokio::test]
async fn what_the_matrix_says_is_missing_is_refused_by_its_name() {
    let (client, name) = bucket("refusals-matrix").await;
    put(&client, &name, "k", b"x").await;
    for operation in missing() {
        let answer = send(request(&name, operation));
        assert_not_implemented(operation.name, &answer);
        let message = format!("<Message>The operation {} ", operation.name);
        let text = answer.text();
        assert!(text.contains(&message), "{}: {text}", operation.name);
    }
    assert_eq!(
        keys(&client, &name).await,
        ["k"],
        "nothing of this has written"
    );
    assert_eq!(crate::get(&client, &name, "k").await, b"x");
}

/// Where a method makes no operation of a subresource, it must not be taken for the whole bucket
/// or object: a DELETE of `?notification` deletes nothing.
#[tokio::test]
async fn a_subresource_with_another_method_does_nothing() {
    let (client, name) = bucket("refusals-methods").await;
    put(&client, &name, "k", b"x").await;
    let subresources = missing().filter(|row| matches!(row.marks.first(), Some(Mark::Query(_))));
    let targets = subresources.filter(|row| row.addresses != Addresses::Service);
    let targets: BTreeSet<String> = targets.map(|row| target(&name, row)).collect();
    let served = |method: &str, of: &str| {
        let is_it = |row: &Operation| row.method == method && target(&name, row) == of;
        OPERATIONS
            .iter()
            .any(|row| row.handler.is_some() && is_it(row))
    };
    for target in &targets {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            if served(method, target) {
                continue;
            }
            let answer = send(Request::new(method, target));
            let status = answer.status;
            assert!(
                matches!(status, 405 | 501),
                "{method} {target}: {status} {}",
                answer.text()
            );
            assert!(
                status == 501 || method == "POST",
                "{method} {target}: {status}"
            );
        }
    }
    assert_eq!(
        keys(&client, &name).await,
        ["k"],
        "nothing of this has written"
    );
    assert_eq!(crate::get(&client, &name, "k").await, b"x");
}
