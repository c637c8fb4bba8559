//! The running prober against real sockets on loopback.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::target::{HttpSpec, WebSpec};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

fn target(server: &str, address: SocketAddr, kind: ProbeKind) -> Target {
    let probe = ProbeSpec {
        kind,
        port: address.port(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        retries: 0,
        rise: 2,
        fall: 3,
    };
    Target { service: "www.lb.example.com".into(), server: server.into(), address: address.ip(), probe: probe.into() }
}

fn wanted(targets: Vec<Target>) -> Wanted {
    Wanted { targets: Arc::new(targets), ..Wanted::default() }
}

fn start(targets: Vec<Target>) -> (watch::Sender<Wanted>, Prober) {
    let (sender, receiver) = watch::channel(wanted(targets));
    let settings = Settings { seed: [7; 32], means: Means::default(), epoch: Instant::now() };
    (sender, spawn(settings, receiver))
}

async fn wait(prober: &Prober, what: &str, wanted: impl Fn(&Measurements) -> bool) -> Arc<Measurements> {
    let mut receiver = prober.measurements();
    match tokio::time::timeout(DEADLINE, receiver.wait_for(|all| wanted(all))).await {
        Ok(all) => all.unwrap().clone(),
        Err(_) => panic!("never came: {what}; last: {:?}", prober.measurements().borrow()),
    }
}

fn states(all: &Measurements) -> Vec<State> {
    all.rows.iter().map(|row| row.reading.state).collect()
}

/// Each on its own loopback address, as isolation counts addresses.
async fn listen(host: u8) -> TcpListener {
    TcpListener::bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0)).await.unwrap()
}

async fn serve_http(listener: TcpListener, status: watch::Receiver<u16>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = format!("HTTP/1.1 {} x\r\ncontent-length: 0\r\n\r\n", *status.borrow());
        stream.write_all(answer.as_bytes()).await.ok();
        // Read the request too, or closing would reset the answer away.
        let mut sink = [0; 512];
        while stream.readable().await.is_ok() && matches!(stream.try_read(&mut sink), Ok(1..)) {}
    }
}

#[tokio::test]
async fn up_down_and_up_again_over_tcp_and_http() {
    let (tcp, web) = (listen(1).await, listen(2).await);
    let (tcp_at, web_at) = (tcp.local_addr().unwrap(), web.local_addr().unwrap());
    let (status, statuses) = watch::channel(200);
    let _web = AbortOnDropHandle::new(tokio::spawn(serve_http(web, statuses)));
    let web = WebSpec { host: "www.example.com".into(), tls: None, http2: false, reuse: false };
    let kind = ProbeKind::Http(HttpSpec { web, path: "/".into(), expect: (200, 299), body: None });
    let (_targets, prober) = start(vec![target("a", tcp_at, ProbeKind::Tcp), target("b", web_at, kind)]);

    let all = wait(&prober, "both up", |all| states(all) == [State::Up, State::Up]).await;
    assert!(all.rows.iter().all(|row| row.reading.rtt.is_some() && row.reading.srtt.is_some()));

    status.send_replace(503);
    let all = wait(&prober, "b down", |all| states(all) == [State::Up, State::Down]).await;
    assert_eq!(all.rows[1].reading.why, "status 503, wanted 200-299");
    assert!(all.rows[1].reading.loss > 0.0 && !all.isolated);

    status.send_replace(200);
    wait(&prober, "b up", |all| states(all) == [State::Up, State::Up]).await;
}

#[tokio::test]
async fn new_targets_are_taken_up_and_old_ones_go() {
    let listener = listen(1).await;
    let address = listener.local_addr().unwrap();
    let (targets, prober) = start(vec![target("a", address, ProbeKind::Tcp)]);
    wait(&prober, "a up", |all| states(all) == [State::Up]).await;
    targets.send_replace(wanted(vec![target("b", address, ProbeKind::Tcp)]));
    // The same question under another name: known at once.
    let all = wait(&prober, "b instead of a", |all| all.row("www.lb.example.com", "b").is_some()).await;
    assert_eq!((all.rows.len(), all.rows[0].reading.state), (1, State::Up));
    targets.send_replace(wanted(Vec::new()));
    wait(&prober, "nothing", |all| all.rows.is_empty()).await;
}

#[tokio::test]
async fn all_gone_at_once_is_isolation_and_one_back_ends_it() {
    // Addresses of their own: nothing else here can take the port while it is free.
    let (one, two) = (listen(11).await, listen(12).await);
    let (one_at, two_at) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    let (_targets, prober) = start(vec![target("a", one_at, ProbeKind::Tcp), target("b", two_at, ProbeKind::Tcp)]);
    wait(&prober, "both up", |all| states(all) == [State::Up, State::Up]).await;
    drop((one, two));
    let all = wait(&prober, "isolated", |all| all.isolated).await;
    assert_eq!(states(&all), [State::Up, State::Up]);
    let _one = TcpListener::bind(one_at).await.unwrap();
    wait(&prober, "one of them", |all| !all.isolated && states(all) == [State::Up, State::Down]).await;
}

#[tokio::test]
async fn the_task_ends_with_its_targets() {
    let (targets, prober) = start(Vec::new());
    let mut receiver = prober.measurements();
    drop(targets);
    tokio::time::timeout(DEADLINE, async { while receiver.changed().await.is_ok() {} }).await.unwrap();
}
