//! `nigh top`: a node and its mesh, live in a terminal.
//!
//! ```text
//!   the node's API ─▶ sample ─▶ board (pure: rates, events, what is shown) ─▶ draw ─▶ terminal
//!                    keys ────────▲
//! ```
//!
//! Rejected: printing tables again and again as `watch nigh status` does. Rates and events come from comparing two
//! looks, and a scroll must survive the next one.

mod board;
mod draw;
mod sample;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::board::{Board, View, Wish};
use self::draw::Paint;
use self::sample::Looker;
use super::{Socket, WrongInput};

/// Keys that wait to be looked at: a held key fills it, and is then read more slowly.
const MOST_KEYS: usize = 64;
/// Lines of a page.
const PAGE: u16 = 10;
/// From one look to the next, at least: each one costs the node a little.
const LEAST: Duration = Duration::from_millis(200);

/// The arguments of `nigh top`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// From one look to the next; at least 200ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    /// Draws until somebody has seen enough.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let terminal = std::env::var("TERM").unwrap_or_default();
        usable(std::io::stdout().is_terminal() && std::io::stdin().is_terminal(), &terminal)?;
        let mut looker = Looker::new(self.socket.client()?);
        let began = Instant::now();
        let mut board = Board::default();
        // A node that is not there is told of in the usual way, before the screen is taken.
        let first = looker.look().await?;
        board.handle_look(began.elapsed(), Ok(first));
        let paint = Paint { colours: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) };
        let mut screen = ratatui::try_init().context("cannot take the terminal over")?;
        let ended = watch(&mut screen, &mut board, looker, paint, began, self.every.max(LEAST)).await;
        ratatui::restore();
        ended
    }
}

/// Whether a terminal can be drawn on.
fn usable(is_terminal: bool, kind: &str) -> Result<(), WrongInput> {
    let instead = "`nigh status`, `nigh peers` and `nigh services` print once, and --json is for programs";
    if !is_terminal {
        return Err(WrongInput(format!("nigh top draws on a terminal, and this is none; {instead}")));
    }
    if kind.is_empty() || kind == "dumb" {
        let kind = if kind.is_empty() { "of no known kind (TERM is not set)" } else { "\"dumb\" (TERM)" };
        return Err(WrongInput(format!("nigh top draws on a terminal, and this one is {kind}; {instead}")));
    }
    Ok(())
}

async fn watch(
    screen: &mut ratatui::DefaultTerminal,
    board: &mut Board,
    mut looker: Looker,
    paint: Paint,
    began: Instant,
    every: Duration,
) -> anyhow::Result<()> {
    let mut keys = keys();
    let (wanted, mut looks) = mpsc::channel(1);
    // Beside the screen: a node that is slow to answer must not make the keys slow.
    let looking = tokio::spawn(async move {
        let mut again = interval(every);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            let look = looker.look().await.map_err(|error| error.to_string());
            if wanted.send(look).await.is_err() {
                return;
            }
        }
    });
    let ended = loop {
        let drawn = screen.draw(|frame| draw::draw(frame, board, paint, began.elapsed()));
        if let Err(error) = drawn {
            break Err(error).context("cannot draw on the terminal");
        }
        tokio::select! {
            look = looks.recv() => match look {
                Some(look) => drop(board.handle_look(began.elapsed(), look)),
                None => break Ok(()),
            },
            key = keys.recv() => match key {
                Some(Event::Key(key)) => {
                    if let Some(wish) = wish(key)
                        && !board.handle(wish)
                    {
                        break Ok(());
                    }
                }
                // A resize: drawing again is all it takes.
                Some(_) => {}
                // The terminal is gone.
                None => break Ok(()),
            },
        }
    };
    looking.abort();
    ended
}

/// Keys and resizes, read by a thread of their own: reading waits, and cannot be given up.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(MOST_KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What a key means.
fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'd') if control => Wish::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char(number @ '1'..='5') => {
            let place = number.to_digit(10)? as usize;
            Wish::Show(*View::ALL.get(place.checked_sub(1)?)?)
        }
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => Wish::Next,
        KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => Wish::Previous,
        KeyCode::Up | KeyCode::Char('k') => Wish::Up(1),
        KeyCode::Down | KeyCode::Char('j') => Wish::Down(1),
        KeyCode::PageUp => Wish::Up(PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => Wish::Down(PAGE),
        KeyCode::Home | KeyCode::Char('g') => Wish::Top,
        KeyCode::Char('p') => Wish::Pause,
        KeyCode::Char('?') | KeyCode::F(1) => Wish::Help,
        _ => return None,
    })
}
