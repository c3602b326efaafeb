//! Pages of listings, by `Marker` and `MaxItems` (IAM API reference, "ListUsers").
//!
//! Invariant: an item that is there from the first page to the last is listed once, whatever else comes and goes: a page begins behind the name that
//! the one before it ended with.

use crate::error::Fault;
use crate::query_api::Call;
use crate::xml::Writer;

/// Items of a page where a call says nothing.
const ITEMS_DEFAULT: u64 = 100;

/// Items of a page at most.
const ITEMS_MAX: u64 = 1000;

/// A page of a listing.
pub struct Page<T> {
    /// Its items, by name.
    pub items: Vec<T>,
    /// Where the next one begins; `None` for the last.
    marker: Option<String>,
}

impl<T> Page<T> {
    /// The page of a call. `name` is what items are sorted by, without regard to case; no two have the same.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn of(call: &Call<'_>, items: Vec<T>, name: impl Fn(&T) -> &str) -> Result<Page<T>, Fault> {
        let parameters = call.parameters;
        let most = parameters.number("MaxItems", 1, ITEMS_MAX)?;
        let most = most.unwrap_or(ITEMS_DEFAULT) as usize;
        Ok(Page::after(parameters.get("Marker"), most, items, name))
    }

    fn after(
        marker: Option<&str>,
        most: usize,
        mut items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Page<T> {
        let lower = |item: &T| name(item).to_ascii_lowercase();
        items.sort_by_cached_key(&lower);
        if let Some(marker) = marker {
            let marker = marker.to_ascii_lowercase();
            items.retain(|item| lower(item) > marker);
        }
        let is_truncated = items.len() > most;
        items.truncate(most);
        let last = items.last().filter(|_| is_truncated);
        let marker = last.map(|item| name(item).to_owned());
        Page { items, marker }
    }

    /// Writes what follows the items.
    pub fn write_end(&self, xml: &mut Writer) {
        xml.value("IsTruncated", self.marker.is_some());
        xml.optional("Marker", self.marker.as_deref());
    }

    /// Writes the items as members of a list, and what follows.
    pub fn write(&self, xml: &mut Writer, list: &str, write: impl Fn(&mut Writer, &T)) {
        xml.open(list);
        for item in &self.items {
            xml.open("member");
            write(xml, item);
            xml.close("member");
        }
        xml.close(list);
        self.write_end(xml);
    }
}

/// Keeps what lies below the path of the parameter `PathPrefix`.
pub fn below_prefix<T>(call: &Call<'_>, items: Vec<T>, path: impl Fn(&T) -> &str) -> Vec<T> {
    let prefix = call.parameters.get("PathPrefix").unwrap_or("/");
    let is_below = |item: &T| path(item).starts_with(prefix);
    items.into_iter().filter(is_below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_list_each_item_once_without_regard_to_case() {
        let names = ["b", "A", "c", "D", "e"];
        let mut listed = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = Page::after(marker.as_deref(), 2, names.to_vec(), |name| name);
            assert!(page.items.len() <= 2);
            listed.extend(page.items.iter().copied());
            match page.marker {
                Some(next) => marker = Some(next),
                None => break,
            }
        }
        assert_eq!(listed, ["A", "b", "c", "D", "e"]);
        let whole = Page::after(None, 5, names.to_vec(), |name| name);
        assert_eq!(whole.marker, None);
    }
}
