//! Lists: requests for a page, pages, and streams over all pages.
//!
//! Every list of every contract is requested with a [`PageRequest`] and returns a
//! [`Page`]. For every list `x` there is an `x_stream` that follows the cursors and
//! yields the items of all pages.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, ready};

use data_encoding::BASE64URL_NOPAD;
use futures_core::Stream;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, ErrorKind, Result};

/// The most items on one page.
pub const MAX_PAGE: usize = 1000;

/// A request for one page of a list: at most how many items, and after which
/// cursor. The default is the first page, of up to 100 items.
///
/// It can be deserialized from the query string of a request for a list, with the
/// optional fields `limit` and `after`:
///
/// ```
/// use store_core::PageRequest;
///
/// let page: PageRequest = serde_json::from_str(r#"{ "limit": 20 }"#)?;
/// assert_eq!((page.size(), page.cursor()), (20, None));
/// assert!(serde_json::from_str::<PageRequest>(r#"{ "limit": 0 }"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[doc(alias("pagination", "paginator", "paginate"))]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Parameters")]
pub struct PageRequest {
    limit: usize,
    after: Option<Cursor>,
}

#[derive(Deserialize)]
struct Parameters {
    limit: Option<usize>,
    after: Option<Cursor>,
}

impl TryFrom<Parameters> for PageRequest {
    type Error = Error;

    fn try_from(parameters: Parameters) -> Result<Self> {
        let mut page = Self::new();
        if let Some(limit) = parameters.limit {
            page = page.limit(limit)?;
        }
        page.after = parameters.after;
        Ok(page)
    }
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            limit: Self::DEFAULT_LIMIT,
            after: None,
        }
    }
}

impl PageRequest {
    /// The size of a page if no limit is set.
    pub const DEFAULT_LIMIT: usize = 100;

    /// The first page, of up to 100 items.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most this many items; more than [`MAX_PAGE`] means [`MAX_PAGE`]. A page
    /// may be shorter and still have a cursor.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn limit(mut self, limit: usize) -> Result<Self> {
        if limit == 0 {
            return Err(Error::invalid(
                "a page of zero items was requested; request at least one",
            ));
        }
        self.limit = limit.min(MAX_PAGE);
        Ok(self)
    }

    /// Continues after the page that returned `cursor`. The list refuses a cursor
    /// of another query.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// The most items on the page, from 1 to [`MAX_PAGE`].
    pub fn size(&self) -> usize {
        self.limit
    }

    /// The cursor after which the page begins; `None` for the first page.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.after.as_ref()
    }

    /// The items of this page and of all pages after it, where `fetch` reads one
    /// page. The streams of this crate's lists are made by this.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> store_core::Result<()> {
    /// use store_core::{Page, PageRequest};
    ///
    /// // A list of your own, of one page.
    /// let list = |_page: PageRequest| async { Ok(Page::last(vec!["a", "b"])) };
    /// let mut items = PageRequest::new().stream(list);
    /// while let Some(item) = items.next().await {
    ///     println!("{}", item?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn stream<'a, T, F, Fut>(self, fetch: F) -> Items<'a, T>
    where
        F: Fn(Self) -> Fut + Send + 'a,
        Fut: Future<Output = Result<Page<T>>> + Send + 'a,
    {
        Items {
            next: Some(self.clone()),
            first: self,
            fetch: Box::new(move |page| Box::pin(fetch(page))),
            fetching: None,
            ready: Vec::new().into_iter(),
        }
    }
}

/// The methods of a query that contains a [`PageRequest`] in its field `page`.
macro_rules! paged {
    () => {
        /// At most this many on the page. See
        /// [`PageRequest::limit`](crate::PageRequest::limit).
        ///
        /// # Errors
        /// `InvalidInput` for zero.
        pub fn limit(mut self, limit: usize) -> $crate::Result<Self> {
            self.page = self.page.limit(limit)?;
            Ok(self)
        }

        /// Continues after the page that returned `cursor`. The list refuses a
        /// cursor of another query.
        pub fn after(mut self, cursor: $crate::Cursor) -> Self {
            self.page = self.page.after(cursor);
            self
        }

        /// This query for the page that `page` requests.
        pub fn page(mut self, page: $crate::PageRequest) -> Self {
            self.page = page;
            self
        }

        /// The page that is requested.
        pub fn page_request(&self) -> &$crate::PageRequest {
            &self.page
        }
    };
}
pub(crate) use paged;

type Fetching<'a, T> = Pin<Box<dyn Future<Output = Result<Page<T>>> + Send + 'a>>;

/// The items of all pages of a list, as a [`Stream`]. A page is read when the items
/// of the one before it have been taken; dropping the stream stops it.
///
/// An entry that cannot be read ([`Page::unreadable`]) is an error of kind
/// [`Corrupt`](ErrorKind::Corrupt), after which the stream continues. After an
/// error that made a page fail it ends; the pages read until then were complete.
///
/// [`Items::next`] takes items without another crate. For more, such as
/// `try_collect`, use the `StreamExt` and `TryStreamExt` of `futures-util`.
#[must_use = "a stream reads nothing until it is polled"]
pub struct Items<'a, T> {
    first: PageRequest,
    next: Option<PageRequest>,
    fetch: Box<dyn Fn(PageRequest) -> Fetching<'a, T> + Send + 'a>,
    fetching: Option<Fetching<'a, T>>,
    ready: std::vec::IntoIter<Result<T>>,
}

/// Items are moved out of the stream and never pinned in it.
impl<T> Unpin for Items<'_, T> {}

impl<T> Items<'_, T> {
    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T> Stream for Items<'_, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(item) = this.ready.next() {
                return Poll::Ready(Some(item));
            }
            let fetching = match (this.next.take(), &mut this.fetching) {
                (Some(next), fetching) => fetching.insert((this.fetch)(next)),
                (None, Some(fetching)) => fetching,
                (None, None) => return Poll::Ready(None),
            };
            let page = ready!(fetching.as_mut().poll(context));
            this.fetching = None;
            let page = match page {
                Ok(page) => page,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            this.next = page.next.map(|cursor| this.first.clone().after(cursor));
            let unreadable = page.unreadable.into_iter().map(|u| Err(u.error));
            let items: Vec<_> = page.items.into_iter().map(Ok).chain(unreadable).collect();
            this.ready = items.into_iter();
        }
    }
}

impl<T> fmt::Debug for Items<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

pub(crate) fn foreign_cursor() -> Error {
    Error::invalid("the cursor belongs to another query; pass one that this list returned")
}

/// The position after which a list continues. Opaque; its text can be passed to a
/// client and back.
///
/// A cursor is valid only for the query that returned it. It contains ids of that
/// query's partition, which are no secret from a caller that may run the query.
#[derive(Clone, PartialEq, Eq, Hash)]
#[doc(alias("continuation token", "marker"))]
pub struct Cursor(pub(crate) Vec<u8>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({} bytes)", self.0.len())
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Cursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(|_| foreign_cursor())
    }
}

/// One page of a list, and the cursor of the next.
///
/// A page with a cursor is never empty (it holds an item or an unreadable entry),
/// and a page without a cursor is the last.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Entries of a contract's list that are stored but cannot be read, so that
    /// one damaged record does not hide the others. Always empty for a scan of
    /// records, whose bodies are not read.
    pub unreadable: Vec<Unreadable>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of these items.
    pub fn new(items: Vec<T>, next: Option<Cursor>) -> Self {
        Self {
            items,
            unreadable: Vec::new(),
            next,
        }
    }

    /// The last page of a list.
    pub fn last(items: Vec<T>) -> Self {
        Self::new(items, None)
    }

    /// This page, reporting these entries as unreadable.
    pub fn with_unreadable(mut self, unreadable: Vec<Unreadable>) -> Self {
        self.unreadable = unreadable;
        self
    }

    /// True if the page holds neither an item nor an unreadable entry.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.unreadable.is_empty()
    }

    /// This page with each item converted.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_map<U>(self, f: impl FnMut(T) -> Result<U>) -> Result<Page<U>> {
        Ok(Page {
            items: self.items.into_iter().map(f).collect::<Result<_>>()?,
            unreadable: self.unreadable,
            next: self.next,
        })
    }

    /// This page with each item decoded; an item that is
    /// [`Corrupt`](crate::ErrorKind::Corrupt) is moved to [`Page::unreadable`]
    /// under the name that `name` gives it.
    ///
    /// # Errors
    /// The first error of `f` that is not `Corrupt`.
    pub fn decode<U>(
        self,
        name: impl Fn(&T) -> String,
        mut f: impl FnMut(&T) -> Result<U>,
    ) -> Result<Page<U>> {
        let mut page = Page::new(Vec::with_capacity(self.items.len()), self.next);
        page.unreadable = self.unreadable;
        for item in &self.items {
            match f(item) {
                Ok(decoded) => page.items.push(decoded),
                Err(error) => page.unreadable.push(Unreadable::new(name(item), error)?),
            }
        }
        Ok(page)
    }
}

/// An entry of a list that is stored but cannot be read: damaged, edited by
/// hand, or written by a newer release.
#[derive(Clone, Debug)]
pub struct Unreadable {
    name: String,
    error: Error,
}

impl Unreadable {
    /// The entry called `name`, which could not be read because of `error`.
    ///
    /// # Errors
    /// `error` itself if it is not [`Corrupt`](crate::ErrorKind::Corrupt): an
    /// outage makes the whole list fail.
    pub fn new(name: impl Into<String>, error: Error) -> Result<Self> {
        if !error.is(ErrorKind::Corrupt) {
            return Err(error);
        }
        Ok(Self {
            name: name.into(),
            error,
        })
    }

    /// The entry's name, by which the contract that listed it can delete it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it cannot be read, by value.
    pub(crate) fn into_error(self) -> Error {
        self.error
    }

    /// Why it cannot be read.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_zero_is_refused_and_a_huge_one_is_capped() {
        assert!(PageRequest::new().limit(0).is_err());
        let huge = PageRequest::new().limit(usize::MAX).unwrap();
        assert_eq!(huge.size(), MAX_PAGE);
    }

    #[test]
    fn a_page_request_is_read_from_optional_fields() {
        let cursor = Cursor(b"position".to_vec());
        let text = format!(r#"{{ "limit": 7, "after": "{cursor}" }}"#);
        let page: PageRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(page, PageRequest::new().limit(7).unwrap().after(cursor));
        let first: PageRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(first, PageRequest::new());
        assert!(serde_json::from_str::<PageRequest>(r#"{ "after": "?" }"#).is_err());
    }

    /// Three pages: two items, an unreadable entry, and one item.
    async fn page(request: PageRequest) -> Result<Page<u8>> {
        let next = |position: &[u8]| Some(Cursor(position.to_vec()));
        assert_eq!(request.size(), 2);
        match request.cursor().map(|cursor| &cursor.0[..]) {
            None => Ok(Page::new(vec![1, 2], next(b"b"))),
            Some(b"b") => {
                let damaged = Unreadable::new("damaged", Error::corrupt("damaged"))?;
                Ok(Page::new(vec![], next(b"c")).with_unreadable(vec![damaged]))
            }
            Some(_) => Ok(Page::last(vec![3])),
        }
    }

    #[tokio::test]
    async fn a_stream_yields_every_page_and_continues_after_an_unreadable_entry() {
        let mut items = PageRequest::new().limit(2).unwrap().stream(page);
        let mut seen = Vec::new();
        while let Some(item) = items.next().await {
            seen.push(item.map_err(|error| error.kind()));
        }
        assert_eq!(seen, [Ok(1), Ok(2), Err(ErrorKind::Corrupt), Ok(3)]);
        assert!(items.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_ends_after_a_page_that_failed() {
        let mut items = PageRequest::new().stream(|page| async move {
            match page.cursor() {
                None => Ok(Page::new(vec![1], Some(Cursor(vec![1])))),
                Some(_) => Err(Error::new(ErrorKind::Unavailable, "down")),
            }
        });
        assert_eq!(items.next().await.unwrap().unwrap(), 1);
        let error = items.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(items.next().await.is_none());
    }
}
