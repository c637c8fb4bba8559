//! Clients that go on asking while something happens to the mesh: what they got, and how long they waited.

use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::demo::resolver::Answer;
use crate::demo::resolver::client::Client;
use crate::demo::world::City;

/// Between two questions of one client.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// News not yet read: those of one client for minutes. What is over is only not told live; it is in the record.
const NEWS: usize = 4096;

/// One lookup of a watching client.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whose.
    pub city: City,
    /// When it ended.
    pub at: Instant,
    /// What came.
    pub answer: Answer,
}

/// Clients under way.
#[derive(Debug)]
pub struct Watching {
    stop: watch::Sender<bool>,
    tasks: JoinSet<anyhow::Result<(City, Client, Vec<Seen>)>>,
    /// Lookups as they end.
    pub news: mpsc::Receiver<Seen>,
}

impl Watching {
    /// Every resolver asks for `name` again and again.
    pub fn start(resolvers: Vec<Client>, name: &Name) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (tell, news) = mpsc::channel(NEWS);
        let mut tasks = JoinSet::new();
        for (city, mut client) in City::all().zip(resolvers) {
            let (name, stopped, tell) = (name.clone(), stopped.clone(), tell.clone());
            tasks.spawn(async move {
                let mut record = Vec::new();
                while !*stopped.borrow() {
                    let answer = client.ask(&name, RecordType::A).await?;
                    let seen = Seen { city, at: Instant::now(), answer };
                    tell.try_send(seen.clone()).ok();
                    record.push(seen);
                    sleep(ASK_EVERY).await;
                }
                Ok((city, client, record))
            });
        }
        Self { stop, tasks, news }
    }

    /// Ends the asking; gives the resolvers back, and everything they saw.
    pub async fn finish(mut self) -> anyhow::Result<(Vec<Client>, Vec<Seen>)> {
        self.stop.send(true).ok();
        let mut clients = Vec::new();
        let mut all = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            let (city, client, record) = ended??;
            clients.push((city, client));
            all.extend(record);
        }
        clients.sort_by_key(|(city, _)| *city);
        Ok((clients.into_iter().map(|(_, client)| client).collect(), all))
    }
}
