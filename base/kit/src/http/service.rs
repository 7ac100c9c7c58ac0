//! A client as a tower service, for libraries that bring their own protocol and want something
//! that carries requests (gRPC).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tower::{BoxError, Service};

use super::Client;

impl<B> Service<Request<B>> for Client
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// Sends the request when all of its body is there.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // Who makes the body may have work to do, such as packing it: not on a thread that serves.
            let runtime = Handle::current();
            let collected = spawn_blocking(move || runtime.block_on(body.collect())).await?;
            let body = collected.map_err(Into::into)?.to_bytes();
            let (head, body) = client.deliver(Request::from_parts(head, body)).await?.into_parts();
            Ok(Response::from_parts(head, body))
        })
    }
}
