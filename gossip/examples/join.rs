//! An empty node joins a mesh that holds a million claims: how long until it holds them too?
//!
//! `cargo run --release -p nigh-gossip --example join -- [CLAIMS]`
//!
//! Two real nodes on loopback, over QUIC. The first is given the certificates and pages of a hundred others (which do
//! not run), 64 claims to a page of about a kilobyte; the second has an empty disk and one bootstrap peer.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]
#![allow(clippy::disallowed_methods, reason = "it measures, on real sockets")]

use std::{net::SocketAddr, process::ExitCode, time::Instant};

use ed25519_dalek::SigningKey;
use nigh_gossip::{Certificate, Key, Mesh, MeshConfig, NodeId, Owner, Page, Slot, Table};

/// Nodes whose claims they are.
const WRITERS: usize = 100;
/// Claims in a page.
const ROWS: usize = 64;
/// Pages handed over at a time.
const BATCH: usize = 500;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Ok(claims) = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse::<usize>()) else {
        eprintln!("usage: join [CLAIMS]");
        return ExitCode::from(2);
    };
    match run(claims).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn key(n: usize) -> SigningKey {
    SigningKey::from_bytes(blake3::hash(&n.to_be_bytes()).as_bytes())
}

fn certificate(n: usize) -> Page {
    let node = NodeId::from(key(n).verifying_key());
    let name = format!("n{n}");
    Certificate { node, name, serial: n as u64, prefixes: vec![], not_after: u64::MAX }.sign(&key(0), 1, 0)
}

/// The `slot`th page of a writer: rows of an address, a length and a preference, as a node's claims are.
fn page(writer: usize, slot: u32) -> Page {
    let mut body = vec![0; ROWS * 13];
    blake3::Hasher::new().update(&writer.to_be_bytes()).update(&slot.to_be_bytes()).finalize_xof().fill(&mut body);
    let owner = Owner::Node(key(writer).verifying_key().into());
    Page::sign(&key(writer), Key { owner, table: Table(17), slot: Slot::page(slot) }, 1, u64::from(slot) + 1, body)
}

fn config(n: usize, at: SocketAddr, bootstrap: &[SocketAddr], dir: &std::path::Path) -> MeshConfig {
    MeshConfig {
        signing: key(n),
        mesh: key(0).verifying_key().into(),
        certificate: Some(certificate(n)),
        appointment: None,
        listen: vec![at],
        advertise: vec![at.to_string()],
        bootstrap: bootstrap.iter().map(ToString::to_string).collect(),
        state_dir: dir.to_path_buf(),
    }
}

async fn run(claims: usize) -> Result<(), Box<dyn std::error::Error>> {
    let [full_at, empty_at] = [free_port()?, free_port()?];
    let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
    let full = Mesh::start(config(1, full_at, &[], dirs[0].path())).await?;
    let each = u32::try_from(claims.div_ceil(ROWS * WRITERS))?;
    let mut pages: Vec<Page> = (1..=WRITERS + 2).map(certificate).collect();
    pages.extend((3..WRITERS + 3).flat_map(|writer| (0..each).map(move |slot| page(writer, slot))));
    for batch in pages.chunks(BATCH) {
        for outcome in full.submit(batch.to_vec()).await? {
            outcome?;
        }
    }
    let wanted = pages.len();
    println!("{} claims of {WRITERS} nodes in {wanted} pages", each as usize * ROWS * WRITERS);
    let begin = Instant::now();
    let empty = Mesh::start(config(2, empty_at, &[full_at], dirs[1].path())).await?;
    let mut view = empty.view();
    let mut certificates = None;
    loop {
        let now = view.borrow_and_update().clone();
        if certificates.is_none() && now.certificates.len() >= WRITERS {
            certificates = Some(begin.elapsed());
        }
        if now.pages.len() >= wanted {
            break;
        }
        view.changed().await?;
    }
    if let Some(took) = certificates {
        println!("all certificates   {:.2} s", took.as_secs_f64());
    }
    println!("all pages          {:.2} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn free_port() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
