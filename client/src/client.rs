//! Reading and changing objects of one kind.

use std::marker::PhantomData;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::endpoints::{Endpoints, Request};
use crate::subscription::Subscription;
use crate::{Error, Object};

/// Group and version of the kinds that do not say otherwise.
const GROUP_VERSION_DEFAULT: &str = "status.rollcall/v1";
/// How long an answer may take; a list of a million objects takes a second or two.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much later than asked for a stream may end.
const SLACK: Duration = Duration::from_secs(3);

/// The way to one status center, by any of its control nodes. Clone freely.
#[derive(Debug, Clone)]
pub struct Client {
    endpoints: Endpoints,
}

/// The objects of one kind; `S` is the type of their status. Clone freely.
#[derive(Debug)]
pub struct Resource<S> {
    endpoints: Endpoints,
    group_version: String,
    plural: String,
    namespace: Option<String>,
    status: PhantomData<fn() -> S>,
}

/// Which objects: selectors as the API understands them. Both empty = all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// `app=web,tier in (a,b)`.
    pub labels: String,
    /// `status.state=crashed`, `status.cpuUsage>0.8`, `cel:object.status.state != "running"`, …
    pub fields: String,
}

/// Objects as they were at one version.
#[derive(Debug, Clone)]
pub struct List<S> {
    /// The objects.
    pub items: Vec<Object<S>>,
    /// The version they were at.
    pub resource_version: String,
}

#[derive(Debug, Deserialize)]
struct WireList<S> {
    metadata: WireListMetadata,
    items: Vec<Object<S>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireListMetadata {
    resource_version: String,
}

// === impl Client ===

impl Client {
    /// A client of the status center that these endpoints serve. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Endpoint`] if one is not a URL with a host, or there is none.
    pub fn new(endpoints: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Client, Error> {
        Ok(Client { endpoints: Endpoints::new(endpoints)? })
    }

    /// Waits `patience` for an endpoint that is connected and silent, then asks the next one: 30 s
    /// unless this says otherwise. A subscription hears something at least as often.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Client {
        Client { endpoints: self.endpoints.with_patience(patience) }
    }

    /// The objects of the kind with this plural name, in the default group and version.
    pub fn resource<S: DeserializeOwned>(&self, plural: &str) -> Resource<S> {
        self.resource_of(GROUP_VERSION_DEFAULT, plural)
    }

    /// The objects of a kind in another group and version (`example.org/v2`).
    pub fn resource_of<S: DeserializeOwned>(
        &self,
        group_version: &str,
        plural: &str,
    ) -> Resource<S> {
        Resource {
            endpoints: self.endpoints.clone(),
            group_version: group_version.to_owned(),
            plural: plural.to_owned(),
            namespace: None,
            status: PhantomData,
        }
    }
}

// === impl Resource ===

impl<S> Clone for Resource<S> {
    fn clone(&self) -> Resource<S> {
        Resource {
            endpoints: self.endpoints.clone(),
            group_version: self.group_version.clone(),
            plural: self.plural.clone(),
            namespace: self.namespace.clone(),
            status: self.status,
        }
    }
}

impl<S> Resource<S> {
    /// Those of one namespace alone. Single objects of a kind with namespaces are in one.
    #[must_use]
    pub fn in_namespace(&self, namespace: impl Into<String>) -> Resource<S> {
        Resource { namespace: Some(namespace.into()), ..self.clone() }
    }
}

impl<S: DeserializeOwned> Resource<S> {
    /// The object of this name.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is none.
    pub async fn get(&self, name: &str) -> Result<Object<S>, Error> {
        self.object(self.request(Method::GET, Some(name))).await
    }

    /// All objects that `condition` holds for.
    ///
    /// # Errors
    /// A condition that cannot be evaluated is refused with 400.
    pub async fn list(&self, condition: &Condition) -> Result<List<S>, Error> {
        let mut request = self.request(Method::GET, None);
        request.query = condition.query();
        let bytes = self.bytes(&request).await?;
        let WireList { metadata, items } = serde_json::from_slice(&bytes)?;
        Ok(List { items, resource_version: metadata.resource_version })
    }

    /// Merges `change` into the object (RFC 7386): `{"status": {"state": "running"}}`. Visible to
    /// everyone before this returns.
    ///
    /// # Errors
    /// [`Error::is_conflict`] if `change` carries an older `metadata.resourceVersion`.
    pub async fn patch(&self, name: &str, change: &Value) -> Result<Object<S>, Error> {
        let mut request = self.request(Method::PATCH, Some(name));
        request.content_type = "application/merge-patch+json";
        request.body = serde_json::to_vec(change)?.into();
        self.object(request).await
    }

    /// Makes a new object: the whole of it, `apiVersion` and `kind` included.
    ///
    /// # Errors
    /// [`Error::is_conflict`] if there is one of this name.
    pub async fn create(&self, object: &Value) -> Result<Object<S>, Error> {
        let mut request = self.request(Method::POST, None);
        request.body = serde_json::to_vec(object)?.into();
        self.object(request).await
    }

    /// Deletes the object.
    ///
    /// # Errors
    /// [`Error::is_not_found`] if there is none.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.bytes(&self.request(Method::DELETE, Some(name))).await.map(drop)
    }

    /// Everything that `condition` holds for, and then every edge: see [`Subscription`].
    pub fn subscribe(&self, condition: Condition) -> Subscription<S> {
        Subscription::new(self.clone(), condition)
    }

    /// The response of a watch from `resource_version` on.
    pub(crate) async fn watch(
        &self,
        condition: &Condition,
        resource_version: &str,
    ) -> Result<reqwest::Response, Error> {
        let mut request = self.request(Method::GET, None);
        request.timeout = None;
        request.query = condition.query();
        let timeout_s = self.endpoints.patience().as_secs().max(1);
        request.query.push(("timeoutSeconds", timeout_s.to_string()));
        request.query.push(("watch", "true".into()));
        request.query.push(("allowWatchBookmarks", "true".into()));
        request.query.push(("resourceVersion", resource_version.into()));
        self.endpoints.send(&request).await
    }

    /// How long a stream may be silent: it ends before that, and says something before it ends.
    pub(crate) fn patience(&self) -> Duration {
        self.endpoints.patience().max(Duration::from_secs(1)) + SLACK
    }

    /// Makes the next request start with another endpoint.
    pub(crate) fn pass_on(&self) {
        self.endpoints.pass_on();
    }

    fn request(&self, method: Method, name: Option<&str>) -> Request {
        let Resource { group_version, plural, namespace, .. } = self;
        let path = match namespace {
            Some(namespace) => format!("/apis/{group_version}/namespaces/{namespace}/{plural}"),
            None => format!("/apis/{group_version}/{plural}"),
        };
        let (query, body) = Default::default();
        Request {
            method,
            path,
            name: name.map(str::to_owned),
            query,
            content_type: "application/json",
            body,
            timeout: Some(TIMEOUT),
        }
    }

    async fn object(&self, request: Request) -> Result<Object<S>, Error> {
        Ok(serde_json::from_slice(&self.bytes(&request).await?)?)
    }

    async fn bytes(&self, request: &Request) -> Result<bytes::Bytes, Error> {
        let response = self.endpoints.send(request).await?;
        response.bytes().await.map_err(|source| Error::Unreachable { source })
    }
}

// === impl Condition ===

impl Condition {
    /// By fields alone.
    pub fn fields(selector: impl Into<String>) -> Condition {
        Condition { fields: selector.into(), ..Condition::default() }
    }

    /// By labels alone.
    pub fn labels(selector: impl Into<String>) -> Condition {
        Condition { labels: selector.into(), ..Condition::default() }
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let Condition { labels, fields } = self;
        let both = [("labelSelector", labels), ("fieldSelector", fields)];
        both.into_iter().filter(|(_, s)| !s.is_empty()).map(|(n, s)| (n, s.clone())).collect()
    }
}
