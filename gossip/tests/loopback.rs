//! Real nodes over real sockets on loopback: QUIC and TCP, join, spread, goodbye, restart from disk.

#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "tests read their seed from the environment and wait on real sockets")]

use std::{net::SocketAddr, path::Path, time::Duration};

use ed25519_dalek::SigningKey;
use nigh_gossip::{
    Certificate, Key, Mesh, MeshConfig, MeshError, MeshView, NodeId, Owner, Page, Slot, Table,
    frame::Frame,
    message::Message,
    shell::bare::{Bare, Heard},
    verdict::Verdict,
};

const DEADLINE: Duration = Duration::from_secs(20);

fn operator() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// A port that is free for UDP and TCP now; the kernel does not hand it out again soon.
fn free_port() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = tcp.local_addr().unwrap();
        if std::net::UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

fn config(n: u8, at: SocketAddr, bootstrap: &[SocketAddr], dir: &Path) -> MeshConfig {
    MeshConfig {
        signing: SigningKey::from_bytes(&[n; 32]),
        mesh: operator().verifying_key().into(),
        certificate: Some(certificate(n)),
        appointment: None,
        listen: vec![at],
        advertise: vec![at.to_string()],
        bootstrap: bootstrap.iter().map(ToString::to_string).collect(),
        state_dir: dir.to_path_buf(),
    }
}

fn certificate(n: u8) -> Page {
    let name = format!("n{n}");
    Certificate { node: id(n), name, serial: n.into(), prefixes: vec![], not_after: u64::MAX }.sign(&operator(), 1, 0)
}

fn id(n: u8) -> NodeId {
    SigningKey::from_bytes(&[n; 32]).verifying_key().into()
}

async fn until(mesh: &Mesh, what: &str, condition: impl Fn(&MeshView) -> bool) {
    let mut view = mesh.view();
    let waited = tokio::time::timeout(DEADLINE, view.wait_for(|view| condition(view))).await;
    assert!(waited.is_ok(), "waited in vain for: {what}");
}

/// Starts a node on ports that its last life may hold for another moment (QUIC's driver says goodbye to its peers).
async fn start_again(config: impl Fn() -> MeshConfig) -> Mesh {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        match Mesh::start(config()).await {
            Ok(mesh) => return mesh,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_join_by_any_bootstrap_peer_spread_and_leave() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let [a, b, c, nobody] = [free_port(), free_port(), free_port(), free_port()];
    let one = Mesh::start(config(1, a, &[], dirs[0].path())).await.unwrap();
    // The first listed peer does not exist: any of them suffices.
    let two = Mesh::start(config(2, b, &[nobody, a], dirs[1].path())).await.unwrap();
    let three = Mesh::start(config(3, c, &[b], dirs[2].path())).await.unwrap();
    for mesh in [&one, &two, &three] {
        until(mesh, "two linked peers with a round trip", |view| {
            view.members.values().filter(|member| member.linked && member.rtt.is_some()).count() == 2
        })
        .await;
    }

    let key = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(1) };
    let outcome = three.submit(vec![Page::sign(&operator(), key, 1, 1, b"www".to_vec())]).await.unwrap();
    assert!(outcome[0].is_ok());
    let forged = Page::sign(&SigningKey::from_bytes(&[2; 32]), key, 2, 1, b"evil".to_vec());
    assert!(three.submit(vec![forged]).await.unwrap()[0].is_err());
    two.publish(Table(16), Slot::page(0), b"rows".to_vec()).await.unwrap();
    let own = Key { owner: Owner::Node(id(2)), table: Table(16), slot: Slot::page(0) };
    for mesh in [&one, &two, &three] {
        until(mesh, "both pages", |view| {
            view.pages.get(&key).is_some_and(|page| page.body() == b"www") && view.pages.get(&own).is_some()
        })
        .await;
    }

    two.leave().await;
    until(&one, "two has left", |view| view.members[&id(2)].verdict == Verdict::Left).await;

    // Its bootstrap peer (one) is gone for good, yet two comes back through what it remembers.
    one.leave().await;
    let two = start_again(|| config(2, b, &[], dirs[1].path())).await;
    until(&two, "three is linked again", |view| view.members.get(&id(3)).is_some_and(|member| member.linked)).await;
    until(&three, "two is alive again", |view| view.members[&id(2)].verdict == Verdict::Alive).await;
}

/// It knows the mesh and an address, and that is not enough; the operator's word is, through any member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_nothing_until_it_is_admitted_and_the_revoked_nothing_more() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let [a, b, c] = [free_port(), free_port(), free_port()];
    let one = Mesh::start(config(1, a, &[], dirs[0].path())).await.unwrap();
    let two = Mesh::start(config(2, b, &[a], dirs[1].path())).await.unwrap();
    until(&two, "a link", |view| view.members.get(&id(1)).is_some_and(|member| member.linked)).await;
    let stranger = MeshConfig { certificate: None, ..config(3, c, &[a, b], dirs[2].path()) };
    let three = Mesh::start(stranger).await.unwrap();
    three.publish(Table(16), Slot::page(0), b"mine".to_vec()).await.unwrap();
    let page = Key { owner: Owner::Node(id(3)), table: Table(16), slot: Slot::page(0) };
    // Linked, heard and turned away: that takes three seconds, so by then it would have had whatever it can get.
    let unseen = tokio::time::timeout(
        Duration::from_secs(4),
        until(&one, "never", |view| view.pages.get(&page).is_some() || view.members.contains_key(&id(3))),
    );
    assert!(unseen.await.is_err(), "a stranger's page was stored");
    let view = three.view().borrow().clone();
    assert!(!view.is_admitted() && view.members.keys().all(|member| *member == id(3)), "{:?}", view.members);

    assert!(two.submit(vec![certificate(3)]).await.unwrap()[0].is_ok());
    until(&one, "the page of the new member", |view| view.pages.get(&page).is_some()).await;
    until(&three, "its certificate", MeshView::is_admitted).await;

    let end = nigh_gossip::admission::revoke(&operator(), id(3), 2, 0);
    assert!(one.submit(vec![end]).await.unwrap()[0].is_ok());
    for mesh in [&one, &two] {
        until(mesh, "no trace of the revoked", |view| {
            view.pages.of(Owner::Node(id(3))).next().is_none() && !view.members.contains_key(&id(3))
        })
        .await;
    }
    until(&three, "no link is left", |view| view.members.values().all(|member| !member.linked)).await;
    assert!(one.submit(vec![certificate(3)]).await.unwrap()[0].is_ok(), "old news, and void");
    assert!(!one.view().borrow().certificates.contains_key(&id(3)));
}

/// A host whose UDP is filtered: TCP to the address that it gives out is carried to the node, QUIC finds nobody.
async fn only_tcp_to(node: SocketAddr) -> SocketAddr {
    let door = free_port();
    let listener = tokio::net::TcpListener::bind(door).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(node).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    door
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_is_filtered_tcp_carries_the_mesh() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [a, b] = [free_port(), free_port()];
    let [door_a, door_b] = [only_tcp_to(a).await, only_tcp_to(b).await];
    let advertise = |config: MeshConfig, door: SocketAddr| MeshConfig { advertise: vec![door.to_string()], ..config };
    let one = Mesh::start(advertise(config(1, a, &[], dirs[0].path()), door_a)).await.unwrap();
    let two = Mesh::start(advertise(config(2, b, &[door_a], dirs[1].path()), door_b)).await.unwrap();
    for (mesh, other) in [(&one, id(2)), (&two, id(1))] {
        until(mesh, "a link over TCP", |view| view.members.get(&other).is_some_and(|member| member.rtt.is_some()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_that_returns_is_heard_before_its_old_connection_times_out() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [a, b] = [free_port(), free_port()];
    let one = Mesh::start(config(1, a, &[], dirs[0].path())).await.unwrap();
    let two = Mesh::start(config(2, b, &[a], dirs[1].path())).await.unwrap();
    until(&two, "a link", |view| view.members.get(&id(1)).is_some_and(|member| member.rtt.is_some())).await;
    // Both ends: a victim that dies before its page has arrived is nobody's to give a verdict on.
    until(&one, "a link", |view| view.members.get(&id(2)).is_some_and(|member| member.rtt.is_some())).await;
    two.die().await;
    until(&one, "the victim's verdict", |view| view.members[&id(2)].verdict == Verdict::Dead).await;
    let two = start_again(|| config(2, b, &[a], dirs[1].path())).await;
    let heard = tokio::time::timeout(Duration::from_secs(6), async {
        until(&two, "beats from one", |view| view.members.get(&id(1)).is_some_and(|member| member.rtt.is_some())).await;
    });
    assert!(heard.await.is_ok(), "one went on writing to the connection of the life before");
}

/// A supervisor that starts the next life at once: too soon for the silence of the old connection to tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_that_returns_at_once_is_heard_too() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [a, b] = [free_port(), free_port()];
    let _one = Mesh::start(config(1, a, &[], dirs[0].path())).await.unwrap();
    let mut two = Mesh::start(config(2, b, &[a], dirs[1].path())).await.unwrap();
    for _ in 0..3 {
        until(&two, "a link", |view| view.members.get(&id(1)).is_some_and(|member| member.rtt.is_some())).await;
        two.die().await;
        two = start_again(|| config(2, b, &[a], dirs[1].path())).await;
        let heard = tokio::time::timeout(Duration::from_secs(6), async {
            until(&two, "beats from one", |view| view.members.get(&id(1)).is_some_and(|member| member.rtt.is_some()))
                .await;
        });
        assert!(heard.await.is_ok(), "one went on writing to the connection of the life before");
    }
}

/// Each page costs a signature, on the thread that keeps the heartbeats.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_sends_without_end_is_read_at_its_pace() {
    const PAGES: u32 = 60;
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = [free_port(), free_port()];
    let _one = Mesh::start(config(1, a, &[], dir.path())).await.unwrap();
    let signing = SigningKey::from_bytes(&[2; 32]);
    let mut two = Bare::new(&signing, operator().verifying_key().into(), &[b]).unwrap();
    two.dial(a);
    while !matches!(tokio::time::timeout(DEADLINE, two.next()).await.unwrap(), Heard::Up(_)) {}
    let hello = Message::Hello { version: 2, certificate: Some(certificate(2)), appointment: None };
    assert!(two.send(id(1), hello.encode()));
    let page = |slot| {
        let key = Key { owner: Owner::Node(id(2)), table: Table(16), slot: Slot::page(slot) };
        Frame::from(Page::sign(&signing, key, 1, 1, vec![7; 64]))
    };
    let news = Message::News((0..PAGES).map(page).collect()).encode();
    let (begun, mut sent, mut burst) = (tokio::time::Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(9) {
        sent += u64::from(two.send(id(1), news.clone()));
        if begun.elapsed() < Duration::from_secs(5) {
            burst = sent;
        }
        let _ = tokio::time::timeout(Duration::from_micros(200), two.next()).await;
    }
    // The burst of 16,000 and the window are behind it; 4,000 a second are left.
    let (all, pages) = (sent * u64::from(PAGES), (sent - burst) * u64::from(PAGES));
    assert!(all > 1_000, "{all} pages were read in nine seconds");
    assert!(pages < 24_000, "{pages} pages were read in the last four seconds");
}

/// With ports of its own, so that only the state is shared.
#[tokio::test]
async fn a_second_node_on_the_same_state_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = Mesh::start(config(1, free_port(), &[], dir.path())).await.unwrap();
    let error = Mesh::start(config(1, free_port(), &[], dir.path())).await.err().unwrap();
    assert!(error.to_string().starts_with("another nigh uses the state in "), "{error}");
    first.leave().await;
    // Whoever heard that it left may start.
    Mesh::start(config(1, free_port(), &[], dir.path())).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let error = Mesh::start(config(1, at, &[], dir.path())).await.err().unwrap();
    assert!(matches!(error, MeshError::Listen { .. }));
    assert!(error.to_string().contains(&at.to_string()), "{error}");
}
