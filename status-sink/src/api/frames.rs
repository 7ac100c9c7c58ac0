//! One event as a line of a watch: `{"type":"MODIFIED","object":{…}}`.
//!
//! Lines are compact and end in `\n`; there are no blank ones, which Python's client takes for
//! events. Written once for all listeners that asked for the same.

use std::sync::Arc;

use kit::Clock;
use serde_json::{Value as Json, json};

use super::accept::Form;
use super::failure::Failure;
use super::options::{Envelope, Options};
use super::table::{self, Columns};
use crate::event_log::Event;
use crate::kind::Kind;
use crate::notifier::{Pin, View};
use crate::object::{Key, Object, ResourceVersion};
use crate::selector::{Edge, Selector};
use crate::value::Value;

/// What the client of a list or watch wants to see of which objects.
pub(crate) struct Lens {
    kind: Arc<Kind>,
    namespace: Option<Box<str>>,
    selector: Selector,
    form: Form,
    envelope: Envelope,
    columns: Columns,
    identity: String,
    clock: Arc<dyn Clock>,
}

// === impl Lens ===

impl Lens {
    /// On `kind`, in `namespace` or in all.
    ///
    /// # Errors
    /// 400 for a selector that cannot be evaluated, with the character where it goes wrong.
    pub(crate) fn new(
        kind: Arc<Kind>,
        namespace: Option<&str>,
        form: Form,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Lens, Failure> {
        let Options { labels, fields, envelope, include, .. } = options;
        let selector = Selector::compile(labels, fields, &*kind).map_err(|(which, error)| {
            let text = if which == "labelSelector" { labels } else { fields };
            let shown: String = text.chars().take(200).collect();
            let message = format!("unable to parse {which} {shown:?}: {error}");
            Failure::bad_request(message)
        })?;
        let identity =
            format!("{form:?} {envelope:?} {include:?} {namespace:?} {labels:?} {fields:?}");
        let columns = Columns::new(&kind, *include);
        let namespace = namespace.map(Box::from);
        let envelope = *envelope;
        Ok(Lens { kind, namespace, selector, form, envelope, columns, identity, clock })
    }

    /// The kind it is on.
    pub(crate) fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// The only namespace, if there is one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// In which form objects are shown.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// How it shows objects as rows.
    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// What objects must be like.
    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    /// Whether all objects of the kind are shown.
    pub(crate) fn is_everything(&self) -> bool {
        self.namespace.is_none() && self.selector.is_everything()
    }

    /// Whether the object belongs to a list.
    pub(crate) fn shows(&self, object: &Object) -> bool {
        self.is_inside(object) && self.selector.matches(object)
    }

    /// The one key that an object must have to be shown, if there is only one.
    pub(crate) fn key(&self) -> Option<Key> {
        let name = self.selector.required_name()?;
        match (&self.namespace, self.kind.namespaced) {
            (Some(namespace), _) => Some(Key::new(namespace, name)),
            (None, false) => Some(Key::new("", name)),
            (None, true) => None,
        }
    }

    /// Appends the line of an object that is there from the start.
    pub(crate) fn write_initial(&self, object: &Object, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"ADDED","object":"#);
        self.write_object(object, object.version, out);
        out.extend_from_slice(b"}\n");
    }

    /// A line that says: you are at this version; with `ends_initial`, you have everything.
    pub(crate) fn bookmark(&self, version: ResourceVersion, ends_initial: bool) -> Vec<u8> {
        let mut metadata =
            json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
        if ends_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self.form {
            Form::Objects => json!({
                "kind": self.kind.name(),
                "apiVersion": self.kind.api_version(),
                "metadata": metadata,
            }),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Form::Table => json!({
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "columnDefinitions": [],
                "rows": [],
            }),
        };
        line("BOOKMARK", &object)
    }

    fn is_inside(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| object.namespace() == namespace)
    }

    /// Appends an object under a version.
    fn write_object(&self, object: &Object, version: ResourceVersion, out: &mut Vec<u8>) {
        match self.form {
            Form::Objects => object.write_json_at(&self.kind, version, out),
            Form::Metadata => table::partial(object, version, out),
            Form::Table => {
                let metadata = json!({ "resourceVersion": object.version.to_string() });
                self.columns.begin(&metadata, out);
                self.columns.row(object, version, self.clock.unix_ms(), out);
                Columns::end(out);
            }
        }
    }

    fn write_extras(&self, event: &Event, edge: Edge, out: &mut Vec<u8>) {
        let object = |object: &Option<Arc<Object>>, out: &mut Vec<u8>| match object {
            Some(object) => object.write_json(&self.kind, out),
            None => out.extend_from_slice(b"null"),
        };
        if self.envelope.prev {
            out.extend_from_slice(br#","prev":"#);
            object(&event.old, out);
        }
        if self.envelope.edge {
            let word = match edge {
                Edge::Enter => "enter",
                Edge::Stay => "change",
                Edge::Leave if event.new.is_none() => "delete",
                Edge::Leave => "leave",
            };
            out.extend_from_slice(format!(r#","edge":"{word}""#).as_bytes());
        }
        if self.envelope.cause {
            out.extend_from_slice(format!(r#","cause":"{}""#, event.cause.word()).as_bytes());
        }
        if self.envelope.ts {
            out.extend_from_slice(format!(r#","ts":{}"#, event.unix_ms).as_bytes());
        }
        if self.envelope.current && edge == Edge::Leave {
            out.extend_from_slice(br#","current":"#);
            object(&event.new, out);
        }
    }
}

impl View for Lens {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn write(&self, event: &Event, out: &mut Vec<u8>) {
        let Some(subject) = event.new.as_deref().or(event.old.as_deref()) else { return };
        if !self.is_inside(subject) {
            return;
        }
        let (old, new) = (event.old.as_deref(), event.new.as_deref());
        let Some(edge) = self.selector.edge(old, new) else { return };
        out.extend_from_slice(match edge {
            Edge::Enter => br#"{"type":"ADDED","object":"#,
            Edge::Stay => br#"{"type":"MODIFIED","object":"#,
            Edge::Leave => br#"{"type":"DELETED","object":"#,
        });
        match (edge, old, new) {
            (Edge::Enter | Edge::Stay, _, Some(new)) => self.write_object(new, new.version, out),
            // What the object was, under the version of its leaving: clients resume from it.
            (_, Some(old), _) => self.write_object(old, event.version, out),
            _ => out.extend_from_slice(b"null"),
        }
        if !self.envelope.is_plain() {
            self.write_extras(event, edge, out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn pins(&self) -> Option<Vec<Pin>> {
        if let Some(key) = self.key() {
            return Some(vec![Pin::Key(key)]);
        }
        let pins = self.kind.fields().find_map(|(id, _)| {
            let values = self.selector.required(usize::from(id.0))?;
            Some(values.into_iter().map(|value| Pin::Field(id, Value::from(value))).collect())
        });
        pins.or_else(|| Some(vec![Pin::Namespace(self.namespace.clone()?)]))
    }
}

impl std::fmt::Debug for Lens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lens").field(&self.identity).finish()
    }
}

/// The line that ends a watch which cannot go on.
pub(crate) fn error_line(failure: &Failure) -> Vec<u8> {
    line("ERROR", &failure.status())
}

fn line(kind: &str, object: &Json) -> Vec<u8> {
    let mut line = json!({ "type": kind, "object": object }).to_string().into_bytes();
    line.push(b'\n');
    line
}
