//! LIST against the model, over hostile keys.

use crate::{bucket, code, failure, put, send};
use aws_sdk_s3::Client;
use std::collections::BTreeSet;
use strata_tests::content::Random;
use strata_tests::http::Request;
use strata_tests::keys::{HOSTILE, Page, list, random};

async fn fill(client: &Client, bucket: &str, keys: &BTreeSet<String>) {
    for key in keys {
        put(client, bucket, key, key.as_bytes()).await;
    }
}

struct Query<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    after: &'a str,
    max: usize,
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

/// The page, and where the next one begins.
async fn page_v2(
    client: &Client,
    bucket: &str,
    query: &Query<'_>,
    token: Option<String>,
) -> (Page, Option<String>) {
    let listed = client
        .list_objects_v2()
        .bucket(bucket)
        .set_prefix(optional(query.prefix))
        .set_delimiter(query.delimiter.map(str::to_string))
        .set_start_after(optional(query.after))
        .set_continuation_token(token)
        .max_keys(query.max as i32)
        .send()
        .await
        .expect("a list");
    let keys = listed
        .contents()
        .iter()
        .filter_map(|object| object.key().map(str::to_string));
    let prefixes = listed
        .common_prefixes()
        .iter()
        .filter_map(|one| one.prefix().map(str::to_string));
    let page = Page {
        keys: keys.collect(),
        prefixes: prefixes.collect(),
        truncated: listed.is_truncated() == Some(true),
    };
    assert_eq!(
        listed.key_count(),
        Some((page.keys.len() + page.prefixes.len()) as i32)
    );
    (page, listed.next_continuation_token().map(str::to_string))
}

/// All pages of a query say together what the model says in one.
async fn check_v2(client: &Client, bucket: &str, keys: &BTreeSet<String>, query: &Query<'_>) {
    let whole = list(keys, query.prefix, query.delimiter, query.after, usize::MAX);
    let mut joined = Page::default();
    let mut token = None;
    loop {
        let (page, next) = page_v2(client, bucket, query, token.take()).await;
        assert_eq!(page.truncated, next.is_some());
        let count = page.keys.len() + page.prefixes.len();
        assert!(if page.truncated {
            count == query.max
        } else {
            count <= query.max
        });
        joined.keys.extend(page.keys);
        joined.prefixes.extend(page.prefixes);
        token = next;
        if token.is_none() {
            break;
        }
    }
    let Query {
        prefix,
        delimiter,
        after,
        max,
    } = query;
    assert_eq!(
        joined, whole,
        "prefix {prefix:?} delimiter {delimiter:?} after {after:?} max {max}"
    );
}

#[tokio::test]
async fn hostile_keys_are_listed_in_byte_order() {
    let (client, name) = bucket("listing-hostile").await;
    let mut keys: BTreeSet<String> = HOSTILE.iter().map(|key| key.to_string()).collect();
    let mut dice = Random::announced("listing");
    while keys.len() < HOSTILE.len() + 100 {
        keys.insert(random(&mut dice));
    }
    fill(&client, &name, &keys).await;
    let all: Vec<String> = keys.iter().cloned().collect();
    assert_eq!(crate::keys(&client, &name).await, all);
    for prefix in ["", "a", "a/", "a//", "/", "//", "b", "日本", "zz", "é"] {
        for delimiter in [None, Some("/"), Some("a"), Some("//")] {
            let after = dice.pick(&all).clone();
            for after in ["", &after] {
                let max = *dice.pick(&[1, 2, 3, 7, 1000]);
                check_v2(
                    &client,
                    &name,
                    &keys,
                    &Query {
                        prefix,
                        delimiter,
                        after,
                        max,
                    },
                )
                .await;
            }
        }
    }
    for key in &keys {
        assert_eq!(
            crate::get(&client, &name, key).await,
            key.as_bytes(),
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn version_one_pages_by_marker() {
    let (client, name) = bucket("listing-v1").await;
    let keys: BTreeSet<String> = HOSTILE.iter().map(|key| key.to_string()).collect();
    fill(&client, &name, &keys).await;
    for (prefix, delimiter) in [("", None), ("", Some("/")), ("a/", Some("/"))] {
        let whole = list(&keys, prefix, delimiter, "", usize::MAX);
        let mut joined = Page::default();
        let mut marker: Option<String> = None;
        loop {
            let listed = client
                .list_objects()
                .bucket(&name)
                .prefix(prefix)
                .set_delimiter(delimiter.map(str::to_string))
                .set_marker(marker.take())
                .max_keys(3)
                .send()
                .await
                .expect("a list");
            joined.keys.extend(
                listed
                    .contents()
                    .iter()
                    .filter_map(|o| o.key().map(str::to_string)),
            );
            let prefixes = listed.common_prefixes().iter();
            joined
                .prefixes
                .extend(prefixes.filter_map(|one| one.prefix().map(str::to_string)));
            if listed.is_truncated() != Some(true) {
                break;
            }
            // Without a delimiter S3 leaves the last key to be the marker.
            let last = listed.contents().last().and_then(|object| object.key());
            let next = listed.next_marker().or(last).map(str::to_string);
            assert!(next.is_some(), "a truncated page says where to go on");
            marker = next;
        }
        assert_eq!(joined, whole, "prefix {prefix:?} delimiter {delimiter:?}");
    }
}

#[tokio::test]
async fn keys_can_be_asked_for_url_encoded() {
    let (client, name) = bucket("listing-encoded").await;
    put(&client, &name, "a b+c/é\u{1}", b"x").await;
    let listed = client
        .list_objects_v2()
        .bucket(&name)
        .encoding_type(aws_sdk_s3::types::EncodingType::Url)
        .send()
        .await
        .expect("a list");
    let key = listed.contents()[0].key().expect("a key");
    assert!(
        ["a+b%2Bc/%C3%A9%01", "a%20b%2Bc/%C3%A9%01"].contains(&key),
        "{key}"
    );
}

#[tokio::test]
async fn a_thousand_keys_make_a_page_and_zero_none() {
    let (client, name) = bucket("listing-thousand").await;
    let keys: BTreeSet<String> = (0..1005).map(|n| format!("k{n:05}")).collect();
    fill(&client, &name, &keys).await;
    let listed = client
        .list_objects_v2()
        .bucket(&name)
        .max_keys(5000)
        .send()
        .await
        .expect("a list");
    assert_eq!(
        (listed.contents().len(), listed.is_truncated()),
        (1000, Some(true))
    );
    let none = client
        .list_objects_v2()
        .bucket(&name)
        .max_keys(0)
        .send()
        .await
        .expect("a list");
    assert_eq!(
        (none.contents().len(), none.is_truncated()),
        (0, Some(false))
    );
    let bad = client
        .list_objects_v2()
        .bucket(&name)
        .max_keys(-1)
        .send()
        .await;
    assert_eq!(failure(bad), code(400, "InvalidArgument"));
}

/// Both versions encode the prefix where it is asked for, as the reference of the API says and the Java SDKs undo.
#[tokio::test]
async fn a_prefix_with_control_bytes_is_encoded_where_it_is_asked_for() {
    let (client, name) = bucket("listing-control").await;
    put(&client, &name, "\n\u{1}/k", b"x").await;
    for version in ["", "&list-type=2"] {
        let target = format!("/{name}?prefix=%0A%01{version}");
        let plain = send(Request::new("GET", &target)).text();
        assert!(plain.contains("&#x1;/k</Key>"), "{plain}");
        let encoded = send(Request::new("GET", &format!("{target}&encoding-type=url"))).text();
        assert!(encoded.contains("<Prefix>%0A%01</Prefix>"), "{encoded}");
        assert!(encoded.contains("<Key>%0A%01/k</Key>"), "{encoded}");
    }
}
