//! The origin servers: HTTP responders in the demo process that are as far away as their region is.
//!
//! Loopback has no distance, so the origin waits before it answers, by the city from which it is asked (the source
//! address of the probe, which is why the nodes set `[measure] source`). Nodes measure the time to the first byte.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::world::{Origin, Plan};

/// Longer than any way in the demo's world.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// The answer to a fetch is one short line; more is not read.
const MAX_RESPONSE: u64 = 4096;

/// Starts all origins; they end when the set is dropped.
pub async fn start(plan: Plan) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for origin in Origin::all() {
        let address = SocketAddr::new(plan.origin(origin), plan.http_port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("origin {}: cannot listen on {address}", origin.id()))?;
        let respond = move |ConnectInfo(from): ConnectInfo<SocketAddr>| async move {
            if let Some(city) = plan.city_at(from.ip()) {
                sleep(city.to_origin(origin)).await;
            }
            format!("{}\n", origin.id())
        };
        let app = Router::new().route("/", get(respond)).route("/healthz", get(respond));
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        tasks.spawn(async move {
            // Never returns but by being dropped.
            axum::serve(listener, service).await.ok();
        });
    }
    Ok(tasks)
}

/// Fetches `/` as a client at `from`: which origin answered, and how long the first byte took.
pub async fn fetch(from: IpAddr, plan: &Plan, address: IpAddr) -> anyhow::Result<(String, Duration)> {
    let began = Instant::now();
    let reply = timeout(FETCH_TIMEOUT, exchange(from, SocketAddr::new(address, plan.http_port))).await;
    let (text, first_byte) = reply.with_context(|| format!("{address} did not answer within {FETCH_TIMEOUT:?}"))??;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((body.trim().to_owned(), first_byte.saturating_duration_since(began)))
}

async fn exchange(from: IpAddr, to: SocketAddr) -> anyhow::Result<(String, Instant)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(to).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let first = stream.read_u8().await?;
    let first_byte = Instant::now();
    let mut rest = vec![first];
    stream.take(MAX_RESPONSE).read_to_end(&mut rest).await?;
    Ok((String::from_utf8_lossy(&rest).into_owned(), first_byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::demo::world::City;

    #[tokio::test]
    async fn an_origin_is_as_far_as_the_asker_is() {
        let plan = Plan { x: 124, dns_port: 0, mesh_port: 0, http_port: 31_280, admin_port: 0 };
        let _origins = start(plan).await.unwrap();
        let tokyo = City::by_node("tyo").unwrap();
        let best = tokyo.best_origin();
        let (who, took) = fetch(plan.resolver(tokyo), &plan, plan.origin(best)).await.unwrap();
        assert_eq!(who, best.id());
        assert!(took >= tokyo.to_origin(best), "{took:?}");
        let elsewhere = "127.0.0.1".parse().unwrap();
        let (who, _) = fetch(elsewhere, &plan, plan.origin(best)).await.unwrap();
        assert_eq!(who, best.id());
    }
}
