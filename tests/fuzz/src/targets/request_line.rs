//! Paths, hosts and queries of clients, and the times, tags and encoded words in their headers.

use strata_gateway::dates::parse_http_date;
use strata_gateway::encoded_word;
use strata_gateway::percent;
use strata_gateway::query::Query;
use strata_gateway::request::Address;
use strata_gateway::virtual_host::bucket_of;
use strata_raftlog::namespace::ETag;

use crate::allocation::bounded;

pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    bounded(data.len(), || {
        let _ = (Address::parse(text), Query::parse(text));
    });
    bounded(data.len(), || {
        let _ = (encoded_word::decode(text), bucket_of(text, &[]));
    });
    let encoded = encoded_word::encode(text);
    if encoded != text {
        assert_eq!(encoded_word::decode(&encoded), text);
    }
    if let Some(decoded) = percent::decode(text) {
        let encoded = percent::encode(decoded.as_bytes());
        assert_eq!(percent::decode(&encoded).as_deref(), Some(&*decoded));
    }
    if let Some(tag) = ETag::parse(text) {
        assert_eq!(ETag::parse(&tag.to_string()), Some(tag));
    }
    let _ = parse_http_date(text);
}
