//! etcd as a rival: puts over gRPC, watchers on the whole key range, data in memory (tmpfs).
//!
//! The handful of messages needed are written down here, from etcd's published `rpc.proto`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::load::{Heard, Listener, System, Writer};
use super::redis::payload;
use super::wire::STAMP;
use crate::fleet::free_port;
use crate::process::{Process, Usage};

const BINARY: &str = "/usr/bin/etcd";
/// The answer with 51,200 values is about 30 MB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A running etcd.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    endpoint: Endpoint,
    _data: tempfile::TempDir,
}

/// One connection that puts.
#[derive(Debug)]
pub(super) struct EtcdWriter(Grpc<Channel>);

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: bytes::Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create_request: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchResponse {
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(message, optional, tag = "2")]
    kv: Option<KeyValue>,
}

pub(super) fn installed() -> bool {
    Path::new(BINARY).exists()
}

impl Server {
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Server> {
        let data = tempfile::tempdir_in("/dev/shm").context("make a folder on tmpfs")?;
        let (client, peer) = (free_port()?, free_port()?);
        let mut command = Command::new(BINARY);
        command.arg("--data-dir").arg(data.path());
        command.arg(format!("--listen-client-urls=http://127.0.0.1:{client}"));
        command.arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"));
        command.arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"));
        command.arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"));
        command.arg(format!("--initial-cluster=default=http://127.0.0.1:{peer}"));
        command.arg("--unsafe-no-fsync");
        let process = Process::start("etcd", command, &folder.join("etcd.log"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], client));
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let server = Server { process, endpoint, _data: data };
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let tried = match server.writer().await {
                Ok(mut writer) => writer.create(0).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(()) => return Ok(server),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn client(&self) -> anyhow::Result<Grpc<Channel>> {
        let channel = self.endpoint.connect().await.context("connect to etcd")?;
        Ok(Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }

    async fn range(&self, from: String, to: String) -> anyhow::Result<Duration> {
        let mut client = self.client().await?;
        client.ready().await?;
        let request = RangeRequest { key: from.into(), range_end: to.into() };
        let start = Instant::now();
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
        let answer: tonic::Response<RangeResponse> =
            client.unary(tonic::Request::new(request), path, ProstCodec::default()).await?;
        anyhow::ensure!(!answer.get_ref().kvs.is_empty(), "an empty range");
        Ok(start.elapsed())
    }
}

impl System for Server {
    type Writer = EtcdWriter;

    async fn writer(&self) -> anyhow::Result<EtcdWriter> {
        Ok(EtcdWriter(self.client().await?))
    }

    async fn listen(&self, heard: Heard) -> anyhow::Result<Listener> {
        let mut client = self.client().await?;
        client.ready().await?;
        let create = WatchCreateRequest { key: b"vm/".to_vec(), range_end: b"vm0".to_vec() };
        let request = WatchRequest { create_request: Some(create) };
        let (more, requests) = tokio::sync::mpsc::channel(1);
        more.send(request).await?;
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let answer: tonic::Response<tonic::Streaming<WatchResponse>> =
            client.streaming(tonic::Request::new(requests), path, ProstCodec::default()).await?;
        let mut events = answer.into_inner();
        let first = events.message().await?.context("the watch ended")?;
        anyhow::ensure!(first.created, "the watch was not created");
        let task = tokio::spawn(async move {
            let _keeps_the_stream_open = more;
            while let Ok(Some(message)) = events.message().await {
                let stamps: Vec<u64> = message.events.iter().filter_map(stamp_of).collect();
                heard.events(&stamps);
            }
        });
        Ok(Listener(Some(task.abort_handle())))
    }

    async fn list_all(&self, _objects: usize) -> anyhow::Result<Option<Duration>> {
        Ok(Some(self.range("vm/".into(), "vm0".into()).await?))
    }

    async fn list_host(&self, host: usize) -> anyhow::Result<Option<Duration>> {
        Ok(Some(self.range(format!("vm/{host:04}/"), format!("vm/{host:04}0")).await?))
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        self.process.usage()
    }

    fn takes_crowds(&self) -> bool {
        false
    }
}

impl EtcdWriter {
    async fn put(&mut self, number: usize, stamp: u64) -> anyhow::Result<()> {
        self.0.ready().await?;
        let key = format!("vm/{:04}/{number}", number / 200).into_bytes();
        let request = PutRequest { key, value: payload(number, stamp).into() };
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let _answer: tonic::Response<PutResponse> =
            self.0.unary(tonic::Request::new(request), path, ProstCodec::default()).await?;
        Ok(())
    }
}

impl Writer for EtcdWriter {
    async fn create(&mut self, number: usize) -> anyhow::Result<()> {
        self.put(number, 0).await
    }

    async fn update(&mut self, number: usize, stamp: u64) -> anyhow::Result<()> {
        self.put(number, stamp).await
    }
}

fn stamp_of(event: &Event) -> Option<u64> {
    let value = &event.kv.as_ref()?.value;
    let at = memchr::memmem::find(value, STAMP)? + STAMP.len();
    std::str::from_utf8(value.get(at..at + 20)?).ok()?.parse().ok()
}
