//! Names resolved by a name server on loopback that answers as it is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

use super::message::tests::answer;
use super::*;
use crate::fixtures::job;

/// What the server says: a code and records.
type Says = Arc<Mutex<(u16, Vec<Record>)>>;

struct FakeServer {
    address: SocketAddr,
    says: Says,
    /// Answers over UDP are cut off.
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl FakeServer {
    async fn start(truncates: bool) -> FakeServer {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let says: Says = Arc::default();
        let (over_udp, over_tcp) = (Arc::clone(&says), Arc::clone(&says));
        let tasks = [
            tokio::spawn(async move {
                let mut question = [0; 512];
                while let Ok((length, from)) = udp.recv_from(&mut question).await {
                    let (code, records) = over_udp.lock().unwrap().clone();
                    let mut message = answer(&question[..length], code, &records);
                    if truncates {
                        message[2] |= 2;
                    }
                    udp.send_to(&message, from).await.unwrap();
                }
            }),
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = tcp.accept().await {
                    let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                    stream.read_exact(&mut question).await.unwrap();
                    let (code, records) = over_tcp.lock().unwrap().clone();
                    let message = answer(&question, code, &records);
                    stream.write_u16(message.len() as u16).await.unwrap();
                    stream.write_all(&message).await.unwrap();
                }
            }),
        ];
        FakeServer { address, says, _tasks: tasks.map(AbortOnDropHandle::new) }
    }

    fn say(&self, code: u16, records: &[Record]) {
        *self.says.lock().unwrap() = (code, records.to_vec());
    }
}

fn names(servers: Vec<SocketAddr>, section: &str) -> impl Refresh {
    let job = job(&format!("{{job_name: j, dns_sd_configs: [{section}]}}"));
    let config = Arc::new(job.dns_sd()[0].clone());
    let resolver = move || {
        Ok(Resolver { servers: servers.clone(), search: vec!["example.".to_owned()], n_dots: 1 })
    };
    let (lookups, failures) = Default::default();
    Names { config, resolver, known: BTreeMap::new(), lookups, failures }
}

#[track_caller]
fn check(groups: Vec<Group>, want: &[&str]) {
    let targets = groups.iter().flat_map(|group| group.targets.iter().map(Labels::to_string));
    assert_eq!(targets.collect::<Vec<_>>(), want);
}

#[tokio::test]
async fn every_type_of_record_becomes_targets() {
    let server = FakeServer::start(false).await;
    let check = async |section: &str, record: Record, want: &str| {
        server.say(0, &[record]);
        let mut names = names(vec![server.address], section);
        check(names.refresh().await.unwrap(), &[want]);
    };
    check(
        "{names: [n.x]}",
        Record::Srv { target: "a.x.".to_owned(), port: 9100 },
        concat!(
            r#"{__address__="a.x:9100", __meta_dns_name="n.x", "#,
            r#"__meta_dns_srv_record_port="9100", __meta_dns_srv_record_target="a.x."}"#
        ),
    )
    .await;
    check(
        "{names: [n.x], type: A, port: 80}",
        Record::A(Ipv4Addr::new(10, 0, 0, 1)),
        r#"{__address__="10.0.0.1:80", __meta_dns_name="n.x"}"#,
    )
    .await;
    check(
        "{names: [n.x], type: AAAA, port: 80}",
        Record::Aaaa(std::net::Ipv6Addr::LOCALHOST),
        r#"{__address__="[::1]:80", __meta_dns_name="n.x"}"#,
    )
    .await;
    check(
        "{names: [n.x], type: MX, port: 25}",
        Record::Mx("m.x.".to_owned()),
        r#"{__address__="m.x:25", __meta_dns_mx_record_target="m.x.", __meta_dns_name="n.x"}"#,
    )
    .await;
    check(
        "{names: [n.x], type: NS, port: 53}",
        Record::Ns("s.x.".to_owned()),
        r#"{__address__="s.x:53", __meta_dns_name="n.x", __meta_dns_ns_record_target="s.x."}"#,
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_udp_comes_over_tcp() {
    let server = FakeServer::start(true).await;
    server.say(0, &[Record::A(Ipv4Addr::LOCALHOST)]);
    let mut names = names(vec![server.address], "{names: [n.x], type: A, port: 1}");
    check(
        names.refresh().await.unwrap(),
        &[r#"{__address__="127.0.0.1:1", __meta_dns_name="n.x"}"#],
    );
}

#[tokio::test]
async fn failing_servers_keep_targets_and_a_missing_name_loses_them() {
    let (first, second) = (FakeServer::start(false).await, FakeServer::start(false).await);
    let servers = vec![first.address, second.address];
    let mut names = names(servers, "{names: [n.x], type: A, port: 1}");
    let target = [r#"{__address__="127.0.0.1:1", __meta_dns_name="n.x"}"#];
    first.say(2, &[]);
    second.say(0, &[Record::A(Ipv4Addr::LOCALHOST)]);
    check(names.refresh().await.unwrap(), &target);
    second.say(2, &[]);
    check(names.refresh().await.unwrap(), &target);
    second.say(3, &[]);
    check(names.refresh().await.unwrap(), &[]);
}
