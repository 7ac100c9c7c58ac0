//! A list: all objects of one state that a lens shows, written by copying the JSON each of them
//! already has.
//!
//! A long list is written while it is sent, a piece at a time: it costs the memory of a piece. A
//! `limit` below [`LIMIT_OBEYED_BELOW`] is obeyed exactly; a larger one only if everything would
//! be too much for one answer, because kubectl takes 20 s for the pages of 51,200 objects.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http::{HeaderValue, header};
use serde_json::{Value as Json, json};

use super::accept::Form;
use super::frames::Lens;
use super::observed;
use super::page::PageToken;
use super::table::{self, Columns};
use super::walk::Walk;
use crate::object::{Key, Object};
use crate::store::Reader;

/// Limits below this are obeyed exactly; kubectl and kube-rs send 500 unasked.
const LIMIT_OBEYED_BELOW: usize = 500;

/// A larger limit is ignored as long as everything is less than this.
const UNPAGED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one piece. A list that fits in one is sent plain and with its length.
const PIECE_BYTES: usize = 256 * 1024;

/// What a list has beside its objects.
#[derive(Debug, Clone)]
pub(crate) struct ListOptions {
    /// `limit`
    pub(crate) limit: Option<usize>,
    /// Objects on the pages before.
    pub(crate) skipped: usize,
    /// Whether the client takes gzip.
    pub(crate) gzip: bool,
    /// Now, in milliseconds since the epoch, for ages.
    pub(crate) now_ms: i64,
    /// Who knows when each object was last seen, if that is asked for.
    pub(crate) observed: Option<Reader>,
}

/// The answer to a list.
pub(crate) fn response(walk: Walk, options: ListOptions) -> Response {
    let limit = options
        .limit
        .filter(|limit| *limit < LIMIT_OBEYED_BELOW || walk.estimated_bytes() > UNPAGED_BYTES_MAX);
    match limit {
        Some(limit) => page(walk, limit, &options),
        None => whole(walk, options),
    }
}

/// What one object is in a list.
fn write_item(lens: &Lens, object: &Object, options: &ListOptions, out: &mut Vec<u8>) {
    match (lens.form(), &options.observed) {
        (Form::Objects, Some(reader)) => observed::write(reader, lens.kind(), object, out),
        (Form::Objects, None) => object.write_json(lens.kind(), out),
        (Form::Table, _) => lens.columns().row(object, object.version, options.now_ms, out),
        (Form::Metadata, _) => table::partial(object, object.version, out),
    }
}

fn write_head(lens: &Lens, metadata: &Json, out: &mut Vec<u8>) {
    let (kind, api_version) = match lens.form() {
        Form::Table => return lens.columns().begin(metadata, out),
        Form::Objects => (format!("{}List", lens.kind().name()), lens.kind().api_version()),
        Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
    };
    let head = format!(
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#
    );
    out.extend_from_slice(head.as_bytes());
}

fn page(mut walk: Walk, limit: usize, options: &ListOptions) -> Response {
    let mut objects: Vec<Arc<Object>> = Vec::with_capacity(limit + 1);
    while !walk.is_done() && objects.len() <= limit {
        walk.visit(|object| {
            objects.push(Arc::clone(object));
            objects.len() <= limit
        });
    }
    let more = objects.len() > limit;
    objects.truncate(limit);
    let version = walk.snapshot().version();
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let Some(last) = objects.last().filter(|_| more) {
        let skipped = options.skipped + objects.len();
        let after = last.key.as_str().to_owned();
        let token = PageToken { version: version.0, after, skipped };
        metadata["continue"] = token.to_string().into();
        if walk.lens().is_everything() {
            metadata["remainingItemCount"] = walk.snapshot().len().saturating_sub(skipped).into();
        }
    }
    let mut out = Vec::with_capacity(PIECE_BYTES);
    write_head(walk.lens(), &metadata, &mut out);
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_item(walk.lens(), object, options, &mut out);
    }
    Columns::end(&mut out);
    answer(Body::from(out))
}

fn whole(walk: Walk, options: ListOptions) -> Response {
    let takes_gzip = options.gzip;
    let mut pieces = Pieces { walk, options, n_written: 0, ended: false, zip: None };
    let mut first = Vec::with_capacity(PIECE_BYTES + 4096);
    let version = pieces.walk.snapshot().version().to_string();
    write_head(pieces.walk.lens(), &json!({ "resourceVersion": version }), &mut first);
    pieces.write(&mut first);
    if pieces.ended {
        return answer(Body::from(first));
    }
    if takes_gzip {
        let encoder = GzEncoder::new(Vec::with_capacity(PIECE_BYTES / 4), Compression::fast());
        pieces.zip = Some(encoder);
        first = pieces.zipped(&first);
    }
    let is_zipped = pieces.zip.is_some();
    let start = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(first))]);
    let mut response = answer(Body::from_stream(futures::StreamExt::chain(start, pieces)));
    if is_zipped {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    response
}

/// The rest of a list, piece by piece.
struct Pieces {
    walk: Walk,
    options: ListOptions,
    n_written: usize,
    ended: bool,
    zip: Option<GzEncoder<Vec<u8>>>,
}

impl Pieces {
    /// Appends the next piece; after the last object, the end.
    fn write(&mut self, out: &mut Vec<u8>) {
        let Pieces { walk, options, n_written, .. } = self;
        let lens = Arc::clone(walk.lens());
        walk.visit(|object| {
            if *n_written > 0 {
                out.push(b',');
            }
            *n_written += 1;
            write_item(&lens, object, options, out);
            out.len() < PIECE_BYTES
        });
        if walk.is_done() {
            Columns::end(out);
            self.ended = true;
        }
    }

    /// What the encoder makes of `plain`, so far.
    fn zipped(&mut self, plain: &[u8]) -> Vec<u8> {
        let Some(encoder) = &mut self.zip else { return plain.to_vec() };
        encoder.write_all(plain).expect("a Vec takes everything");
        if self.ended {
            encoder.try_finish().expect("a Vec takes everything");
        }
        std::mem::take(encoder.get_mut())
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut piece = Vec::with_capacity(PIECE_BYTES + 4096);
        self.write(&mut piece);
        if self.zip.is_some() {
            piece = self.zipped(&piece);
        }
        if piece.is_empty() {
            // Nothing found yet on a long way: others first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(piece.into())))
    }
}

/// The key after which a page begins.
pub(crate) fn after(token: &PageToken) -> Key {
    Key::from_path(&token.after)
}
