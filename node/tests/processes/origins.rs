//! Origin servers that are as far from a node as the test says: they wait before they answer, by who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fleet::NAMES;
use crate::ground::{Ground, HTTP};

/// What the next node's origin is farther away than the own one.
const STEP: Duration = Duration::from_millis(40);
/// The longest request that a probe sends.
const REQUEST: usize = 1024;

/// One origin near each node, with the node's name as its id.
pub struct Origins {
    held: Vec<watch::Sender<bool>>,
    answered: Vec<Arc<AtomicUsize>>,
    loads: Vec<Arc<AtomicUsize>>,
    _tasks: JoinSet<()>,
}

impl Origins {
    /// Starts them.
    pub async fn start(ground: &Ground) -> Self {
        let mut this = Self { held: Vec::new(), answered: Vec::new(), loads: Vec::new(), _tasks: JoinSet::new() };
        for origin in 0..NAMES.len() {
            let listener = TcpListener::bind(ground.origin(origin)).await.unwrap();
            let (held, free) = watch::channel(false);
            let answered = Arc::new(AtomicUsize::new(0));
            this.held.push(held);
            this.answered.push(answered.clone());
            let load = Arc::new(AtomicUsize::new(0));
            this.loads.push(load.clone());
            this._tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(respond(stream, origin, free.clone(), answered.clone(), load.clone()));
                }
            });
        }
        this
    }

    /// From now on an origin takes connections and says nothing, or says it again.
    pub fn hold(&self, origin: usize, held: bool) {
        self.held[origin].send_replace(held);
    }

    /// From now on an origin reports that so many percent of it are in use; 0: it reports nothing.
    pub fn report(&self, origin: usize, percent: usize) {
        self.loads[origin].store(percent, Ordering::Relaxed);
    }

    /// How many requests an origin has answered.
    pub fn answered(&self, origin: usize) -> usize {
        self.answered[origin].load(Ordering::Relaxed)
    }
}

async fn respond(
    mut stream: TcpStream,
    origin: usize,
    mut free: watch::Receiver<bool>,
    answered: Arc<AtomicUsize>,
    load: Arc<AtomicUsize>,
) {
    let mut request = Vec::with_capacity(REQUEST);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(read) if read > 0 && request.len() <= REQUEST => {}
            _ => return,
        }
    }
    let node = match stream.peer_addr().unwrap().ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]) - 11,
        std::net::IpAddr::V6(_) => 0,
    };
    let steps = (NAMES.len() + origin - node) % NAMES.len();
    tokio::time::sleep(STEP * u32::try_from(steps).unwrap()).await;
    free.wait_for(|held| !held).await.ok();
    let report = match load.load(Ordering::Relaxed) {
        0 => String::new(),
        percent => format!("Endpoint-Load-Metrics: TEXT cpu_utilization={}\r\n", percent as f64 / 100.0),
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{report}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok();
    answered.fetch_add(1, Ordering::Relaxed);
}

/// `www` (mode refer) and `api` (mode answer) in the zone `lb.test`, on all origins.
pub fn catalogue(ground: &Ground, probe: &str) -> String {
    let mut text = "[[zone]]\nname = \"lb.test\"\n".to_owned();
    for (name, mode) in [("www", "refer"), ("api", "answer")] {
        text += &format!(
            "[[service]]\nname = \"{name}.lb.test\"\nmode = \"{mode}\"\n[service.probe]\nkind = \"http\"\nport = {HTTP}\n\
             host = \"lb.test\"\n{probe}\n"
        );
        for (origin, id) in NAMES.iter().enumerate() {
            let address = ground.origin(origin).ip();
            text += &format!("[[service.server]]\nid = \"{id}\"\naddress = \"{address}\"\n");
        }
    }
    text
}
