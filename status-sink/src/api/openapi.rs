//! OpenAPI v3 documents of the kinds: what `kubectl explain` prints, and how kubectl learns that
//! the server checks fields itself (the parameter `fieldValidation` of `patch`).
//!
//! Version 2 is not served: kubectl reads it as protobuf only and lives without it.

use serde_json::{Map, Value, json};

use crate::kind::{Kind, Kinds, Origin};

const META_SCHEMA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A document, and what tells it from every other one.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// `apis/status.rollcall/v1`
    pub(crate) path: String,
    /// The JSON.
    pub(crate) json: Vec<u8>,
    /// Sixteen hexadecimal digits of the JSON.
    pub(crate) hash: String,
}

/// `/openapi/v3`: where the documents are.
pub(crate) fn index(documents: &[Document]) -> Value {
    let paths: Map<String, Value> = documents
        .iter()
        .map(|document| {
            let Document { path, hash, .. } = document;
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.clone(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths })
}

/// One document per group and version.
pub(crate) fn documents(kinds: &Kinds) -> Vec<Document> {
    let mut known: Vec<String> = Vec::new();
    for kind in kinds.iter() {
        let api_version = kind.api_version();
        if !known.contains(&api_version) {
            known.push(api_version);
        }
    }
    let of = |api_version: &str| -> Vec<&Kind> {
        let kinds = kinds.iter().map(|kind| &**kind);
        kinds.filter(|kind| kind.api_version() == api_version).collect()
    };
    known.iter().map(|api_version| document(api_version, &of(api_version))).collect()
}

fn document(api_version: &str, kinds: &[&Kind]) -> Document {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert(META_SCHEMA.to_owned(), metadata_schema());
    for kind in kinds {
        let base = if kind.namespaced {
            format!("/apis/{api_version}/namespaces/{{namespace}}/{}", kind.names.plural)
        } else {
            format!("/apis/{api_version}/{}", kind.names.plural)
        };
        paths.insert(base.clone(), operations(kind, &[("get", "list"), ("post", "post")], false));
        let item = [("get", "get"), ("put", "put"), ("patch", "patch"), ("delete", "delete")];
        paths.insert(format!("{base}/{{name}}"), operations(kind, &item, true));
        paths.insert(format!("{base}/{{name}}/status"), operations(kind, &item[..3], true));
        schemas.insert(schema_name(kind), schema(kind));
    }
    let document = json!({
        "openapi": "3.0.0",
        "info": { "title": "rollcall", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas },
    });
    let json = document.to_string().into_bytes();
    let hash = format!("{:016X}", rapidhash::v3::rapidhash_v3(&json));
    Document { path: format!("apis/{api_version}"), json, hash }
}

fn operations(kind: &Kind, verbs: &[(&str, &str)], named: bool) -> Value {
    let reference = json!({ "$ref": format!("#/components/schemas/{}", schema_name(kind)) });
    let mut path = Map::new();
    for (method, action) in verbs {
        let writes = matches!(*method, "post" | "put" | "patch");
        let mut parameters = Vec::new();
        if writes {
            for name in ["dryRun", "fieldManager", "fieldValidation"] {
                parameters.push(parameter(name, "query"));
            }
        }
        let ok = json!({
            "description": "OK",
            "content": { "application/json": { "schema": reference } },
        });
        let operation = json!({
            "operationId": format!("{action}{}{}", kind.names.kind, if named { "" } else { "s" }),
            "parameters": parameters,
            "responses": { "200": ok },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk(kind),
        });
        path.insert((*method).to_owned(), operation);
    }
    let mut shared = Vec::new();
    if named {
        shared.push(parameter("name", "path"));
    }
    if kind.namespaced {
        shared.push(parameter("namespace", "path"));
    }
    path.insert("parameters".to_owned(), Value::Array(shared));
    Value::Object(path)
}

fn parameter(name: &str, place: &str) -> Value {
    let schema = json!({ "type": "string" });
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
}

fn schema(kind: &Kind) -> Value {
    let mut status = Map::new();
    for (_, field) in kind.fields() {
        let mut property = json!({ "type": field.kind.name() });
        let description = match (&*field.description, &field.origin) {
            ("", Origin::Metric { metric, .. }) => format!("From the metric {metric}."),
            ("", Origin::Label(label)) => format!("From the label {label}."),
            ("", Origin::Mirror(mirror)) => format!("Kept equal to a field of {}.", mirror.path),
            ("", Origin::Api) => "Set through this API.".to_owned(),
            (description, _) => description.to_owned(),
        };
        property["description"] = description.into();
        status.insert(field.name.to_string(), property);
    }
    let text = json!({ "type": "string" });
    status.insert(
        "conditions".to_owned(),
        json!({
            "description": conditions_description(kind),
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "status"],
                "properties": {
                    "type": text, "status": text, "reason": text, "message": text,
                    "lastTransitionTime": { "type": "string", "format": "date-time" },
                },
            },
        }),
    );
    let name = &kind.names.kind;
    json!({
        "description": format!("{name} as its reporters and this API last said it is."),
        "type": "object",
        "properties": {
            "apiVersion": { "type": "string", "description": "Group and version of the kind." },
            "kind": { "type": "string", "description": "Name of the kind." },
            "metadata": {
                "description": "Name, labels and version of the object.",
                "allOf": [{ "$ref": format!("#/components/schemas/{META_SCHEMA}") }],
            },
            "status": {
                "description": "What is known about it.",
                "type": "object",
                "properties": status,
            },
        },
        "x-kubernetes-group-version-kind": [gvk(kind)],
    })
}

fn conditions_description(kind: &Kind) -> String {
    let mut text = "Conditions of the object.".to_owned();
    if kind.stale_after.is_some() {
        text.push_str(" Fresh: whether a reporter of the object answers.");
    }
    for condition in &kind.conditions {
        let description = match &*condition.description {
            "" => "as its rule says.",
            said => said,
        };
        text.push_str(&format!(" {}: {description}", condition.name.as_str()));
    }
    text
}

fn metadata_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let texts = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "additionalProperties": { "type": "string" },
        })
    };
    json!({
        "description": "What every object has.",
        "type": "object",
        "properties": {
            "name": text("Name; unique in its kind and namespace."),
            "generateName": text("Start of a name, when the server is to find the rest."),
            "namespace": text("Namespace, if the kind has namespaces."),
            "uid": text("Tells it from every other object, past and present."),
            "resourceVersion": text("Version of the last change."),
            "generation": { "type": "integer", "format": "int64" },
            "creationTimestamp": { "type": "string", "format": "date-time" },
            "labels": texts("Labels, for label selectors."),
            "annotations": texts("Whatever clients want to remember."),
        },
    })
}

fn gvk(kind: &Kind) -> Value {
    let names = &kind.names;
    json!({ "group": names.group, "version": names.version, "kind": names.kind })
}

/// `rollcall.status.v1.VirtualMachine`: the group backwards, as Kubernetes names schemas.
fn schema_name(kind: &Kind) -> String {
    let names = &kind.names;
    let group: Vec<&str> = names.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), names.version, names.kind)
}
