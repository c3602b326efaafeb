//! The checker of LIST: a page holds the keys that are there, in byte order, each once, and the next page goes on behind it.

use std::collections::BTreeSet;

use strata_raftlog::namespace::{ListPage, ListQuery};

/// Whether a page is the one that S3's rules make of the keys that were there in the same moment.
///
/// # Errors
/// Says what differs.
pub fn check_page(
    query: &ListQuery,
    there: &BTreeSet<Vec<u8>>,
    page: &ListPage,
) -> Result<(), String> {
    let mut wanted = entries(query, there);
    let more = wanted.split_off(wanted.len().min(query.limit));
    let next = if more.is_empty() {
        None
    } else {
        wanted.last().cloned()
    };
    let mut listed: Vec<&Vec<u8>> = page.objects.iter().map(|object| &object.key).collect();
    let is_in_order = |keys: &[&Vec<u8>]| keys.windows(2).all(|pair| pair[0] < pair[1]);
    let prefixes: Vec<&Vec<u8>> = page.common_prefixes.iter().collect();
    if !is_in_order(&listed) || !is_in_order(&prefixes) {
        return Err(format!(
            "a page is not in byte order: {page:?} of {query:?}"
        ));
    }
    listed.extend(prefixes);
    listed.sort();
    if listed != wanted.iter().collect::<Vec<_>>() || page.next != next {
        let text = |keys: &[Vec<u8>]| {
            let keys = keys
                .iter()
                .map(|key| String::from_utf8_lossy(key).into_owned());
            keys.collect::<Vec<_>>()
        };
        let found: Vec<Vec<u8>> = listed.into_iter().cloned().collect();
        return Err(format!(
            "a page holds {:?} and goes on behind {:?}; it should hold {:?} and go on behind {:?}; {query:?}",
            text(&found),
            page.next.as_deref().map(String::from_utf8_lossy),
            text(&wanted),
            next.as_deref().map(String::from_utf8_lossy),
        ));
    }
    Ok(())
}

/// All entries of a listing from its marker on: keys, and the common prefixes of those that hold the delimiter.
fn entries(query: &ListQuery, there: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let matching = there.iter().filter(|key| key.starts_with(&query.prefix));
    let rolled = matching.map(|key| {
        let rest = &key[query.prefix.len()..];
        let delimiter = &query.delimiter;
        let at = (!delimiter.is_empty())
            .then(|| {
                rest.windows(delimiter.len())
                    .position(|part| part == delimiter)
            })
            .flatten();
        match at {
            Some(at) => key[..query.prefix.len() + at + delimiter.len()].to_vec(),
            None => key.clone(),
        }
    });
    let entries: BTreeSet<Vec<u8>> = rolled.filter(|entry| *entry > query.start_after).collect();
    entries.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use strata_raftlog::namespace::{ETag, ListedObject, StorageClass};

    use super::*;

    fn listed(key: &str) -> ListedObject {
        ListedObject {
            key: key.as_bytes().to_vec(),
            size: 1,
            etag: ETag {
                digest: [0; 16],
                part_count: 0,
            },
            checksum: None,
            modified_nanos: 0,
            storage_class: StorageClass::default(),
            owner: 0,
        }
    }

    #[test]
    fn a_page_is_in_order_whole_and_goes_on_where_it_ends() {
        let there: BTreeSet<Vec<u8>> = ["a", "b/1", "b/2", "c"]
            .map(|key| key.as_bytes().to_vec())
            .into();
        let query = ListQuery {
            delimiter: b"/".to_vec(),
            limit: 2,
            ..ListQuery::default()
        };
        let good = ListPage {
            objects: vec![listed("a")],
            common_prefixes: vec![b"b/".to_vec()],
            next: Some(b"b/".to_vec()),
        };
        check_page(&query, &there, &good).expect("as it should be");
        let short = ListPage {
            objects: Vec::new(),
            ..good.clone()
        };
        check_page(&query, &there, &short).expect_err("one short");
        let ends = ListPage {
            next: None,
            ..good.clone()
        };
        check_page(&query, &there, &ends).expect_err("more follows");
        let query = ListQuery {
            limit: 9,
            ..ListQuery::default()
        };
        let swapped = ListPage {
            objects: ["a", "b/2", "b/1", "c"].map(listed).into(),
            ..ListPage::default()
        };
        check_page(&query, &there, &swapped).expect_err("not in order");
        let twice = ListPage {
            objects: ["a", "b/1", "b/1", "b/2", "c"].map(listed).into(),
            ..ListPage::default()
        };
        check_page(&query, &there, &twice).expect_err("one twice");
    }
}
