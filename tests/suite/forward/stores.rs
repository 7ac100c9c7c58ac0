//! Real stores behind an HTTP interface, and a real OpenTelemetry collector, on loopback: each
//! ends with its handle.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use testkit::{DEADLINE, Process, free_address, wait_until};
use tokio::process::Command;

/// Debian's InfluxDB (1.6), with a database `fleet`.
pub(super) struct Influx {
    http: Server,
}

/// Debian's VictoriaMetrics.
pub(super) struct Victoria {
    http: Server,
}

/// Debian's ClickHouse (18.16), with a table `samples`. It knows no maps: labels are left out.
pub(super) struct ClickHouse {
    http: Server,
}

/// Rotel, an OpenTelemetry collector, which sends on what it gets.
pub(super) struct Collector {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

/// A program that is asked over HTTP.
struct Server {
    address: SocketAddr,
    client: reqwest::Client,
    _process: Process,
    _folder: TempDir,
}

// === impl Influx ===

impl Influx {
    pub(super) async fn start() -> Influx {
        let folder = tempfile::tempdir().unwrap();
        let (http, rpc) = (free_address(), free_address());
        let mut command = Command::new("influxd");
        command.args(["run", "-config", "/dev/null"]);
        for (name, value) in [
            ("INFLUXDB_HTTP_BIND_ADDRESS", http.to_string()),
            ("INFLUXDB_BIND_ADDRESS", rpc.to_string()),
            ("INFLUXDB_META_DIR", path(folder.path(), "meta")),
            ("INFLUXDB_DATA_DIR", path(folder.path(), "data")),
            ("INFLUXDB_DATA_WAL_DIR", path(folder.path(), "wal")),
            ("INFLUXDB_REPORTING_DISABLED", "true".to_owned()),
            ("INFLUXDB_MONITOR_STORE_ENABLED", "false".to_owned()),
        ] {
            command.env(name, value);
        }
        let http = Server::start("influxd", command, folder, http, "query?q=SHOW+DATABASES").await;
        let influx = Influx { http };
        influx.http.post("query", "q=CREATE DATABASE fleet").await;
        influx
    }

    /// Where lines are written.
    pub(super) fn write_url(&self) -> String {
        self.http.url("write?db=fleet&precision=ns")
    }

    /// The values of a measurement, by time.
    pub(super) async fn values(&self, measurement: &str) -> Vec<f64> {
        let query = format!("query?db=fleet&q=SELECT value FROM {measurement}");
        let answer: Value = serde_json::from_str(&self.http.get(&query).await).unwrap();
        let points = answer["results"][0]["series"][0]["values"].as_array();
        let points = points.unwrap_or_else(|| panic!("no points: {answer}"));
        points.iter().map(|point| point[1].as_f64().unwrap()).collect()
    }
}

// === impl Victoria ===

impl Victoria {
    pub(super) async fn start() -> Victoria {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut command = Command::new("victoria-metrics");
        command.arg(format!("-httpListenAddr={address}"));
        command.arg(format!("-storageDataPath={}", path(folder.path(), "data")));
        Victoria {
            http: Server::start("victoria-metrics", command, folder, address, "health").await,
        }
    }

    /// Where Influx' lines are written.
    pub(super) fn write_url(&self) -> String {
        self.http.url("write")
    }

    /// The values of a series that can be asked for by now, by time.
    pub(super) async fn values(&self, series: &str) -> Vec<f64> {
        self.http.get("internal/force_flush").await;
        let answer = self.http.get(&format!("api/v1/export?match={series}")).await;
        let Ok(series) = serde_json::from_str::<Value>(&answer) else { return Vec::new() };
        series["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    }
}

// === impl ClickHouse ===

impl ClickHouse {
    pub(super) async fn start() -> ClickHouse {
        let folder = tempfile::tempdir().unwrap();
        let (http, tcp) = (free_address(), free_address());
        let (data, tmp) = (path(folder.path(), "data/"), path(folder.path(), "tmp/"));
        let config = format!(
            "<yandex>
               <logger><level>warning</level><console>1</console></logger>
               <listen_host>127.0.0.1</listen_host>
               <http_port>{}</http_port><tcp_port>{}</tcp_port>
               <path>{data}</path><tmp_path>{tmp}</tmp_path>
               <mark_cache_size>1000000</mark_cache_size>
               <users_config>users.xml</users_config>
               <default_profile>default</default_profile>
               <default_database>default</default_database>
             </yandex>",
            http.port(),
            tcp.port()
        );
        let users = "<yandex>
               <profiles><default>
                 <input_format_skip_unknown_fields>1</input_format_skip_unknown_fields>
               </default></profiles>
               <users><default>
                 <password></password><profile>default</profile><quota>default</quota>
                 <networks><ip>127.0.0.1</ip></networks>
               </default></users>
               <quotas><default></default></quotas>
             </yandex>";
        std::fs::write(folder.path().join("config.xml"), config).unwrap();
        std::fs::write(folder.path().join("users.xml"), users).unwrap();
        let mut command = Command::new("clickhouse-server");
        command.arg(format!("--config-file={}", path(folder.path(), "config.xml")));
        command.current_dir(folder.path());
        let http = Server::start("clickhouse-server", command, folder, http, "ping").await;
        let table = "CREATE TABLE samples (value Float64, timestamp UInt64) ENGINE = Memory";
        http.post("", table).await;
        ClickHouse { http }
    }

    /// Where lines of JSON are inserted.
    pub(super) fn insert_url(&self) -> String {
        self.http.url("?query=INSERT%20INTO%20samples%20FORMAT%20JSONEachRow")
    }

    /// All values, by time.
    pub(super) async fn values(&self) -> Vec<f64> {
        let rows = self.http.get("?query=SELECT value FROM samples ORDER BY timestamp").await;
        rows.lines().map(|row| row.parse().unwrap()).collect()
    }
}

// === impl Collector ===

impl Collector {
    /// One that sends on to the endpoint at this address, over HTTP.
    pub(super) async fn start(to: &str) -> Collector {
        let folder = tempfile::tempdir().unwrap();
        let (http, grpc) = (free_address(), free_address());
        let mut command = Command::new(crate::tool("rotel"));
        command.args(["start", "--disable-batching", "--exporter", "otlp"]);
        command.args(["--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint"]);
        command.arg(format!("http://{to}"));
        command.args(["--otlp-http-endpoint", &http.to_string()]);
        command.args(["--otlp-grpc-endpoint", &grpc.to_string()]);
        let process = Process::start("rotel", command, &folder.path().join("rotel.log"));
        for address in [http, grpc] {
            wait_until("rotel listens", DEADLINE, || async {
                let connected = tokio::net::TcpStream::connect(address).await;
                connected.map(|_| ()).map_err(|error| format!("{error}\n{}", process.log()))
            })
            .await;
        }
        Collector { http, grpc, _process: process, _folder: folder }
    }
}

// === impl Server ===

impl Server {
    /// Starts it; it is ready when it answers `GET /ready`.
    async fn start(
        name: &str,
        command: Command,
        folder: TempDir,
        address: SocketAddr,
        ready: &str,
    ) -> Server {
        let mut process = Process::start(name, command, &folder.path().join("log"));
        process.answers(&format!("http://{address}/{ready}"), DEADLINE).await;
        Server { address, client: reqwest::Client::new(), _process: process, _folder: folder }
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}/{rest}", self.address)
    }

    async fn get(&self, rest: &str) -> String {
        Server::text(self.client.get(self.url(rest))).await
    }

    /// Posts text, or a form.
    async fn post(&self, rest: &str, body: &str) -> String {
        let form = "application/x-www-form-urlencoded";
        let request = self.client.post(self.url(rest)).header("Content-Type", form);
        Server::text(request.body(body.to_owned())).await
    }

    async fn text(request: reqwest::RequestBuilder) -> String {
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        text
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
