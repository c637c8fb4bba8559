//! The screen: what a board looks like in a terminal of any size.
//!
//! Colours mean something that words say, too, so NO_COLOR and a monochrome terminal lose nothing.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table, Wrap};

use super::board::{Board, Event, Tone, View};
use super::sample::Sample;
use crate::admin::report::{LatencyLine, Peer, ServerState, ServiceLine, Verdict};
use crate::cli::table::{NOTHING, age, millis};

/// Below it nothing can be shown that is worth it.
const SMALLEST: (u16, u16) = (40, 10);

/// How colours are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    /// False: NO_COLOR.
    pub(super) colours: bool,
}

impl Paint {
    fn tone(self, tone: Tone) -> Style {
        match (tone, self.colours) {
            (Tone::Good, true) => Style::new().fg(Color::Green),
            (Tone::Bad, true) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Bad, false) => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        }
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, board: &Board, paint: Paint, now: Duration) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("too small: {} x {} characters are needed", SMALLEST.0, SMALLEST.1);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let [head, tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(area);
    frame.render_widget(header(board, paint, now), head);
    frame.render_widget(self::tabs(board.view), tabs);
    frame.render_widget(footer(board, paint), foot);
    let Some(sample) = &board.sample else {
        frame.render_widget(Paragraph::new("waiting for the node's first answer"), body);
        return;
    };
    match board.view {
        View::Overview => overview(frame, board, sample, paint, body, now),
        View::Members => members(frame, sample, paint, body, board.scroll),
        View::Services => services(frame, sample, paint, body, board.scroll),
        View::Rows => rows(frame, sample, paint, body, board.scroll),
        View::Events => events(frame, board, paint, body, board.scroll, now),
    }
    if board.help {
        help(frame, body);
    }
}

fn header<'a>(board: &Board, paint: Paint, now: Duration) -> Line<'a> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let Some(Sample { status, .. }) = &board.sample else { return Line::from("nigh top") };
    let (node, mesh) = (&status.node, &status.mesh);
    let pop = if node.pop.is_empty() { String::new() } else { format!(" ({})", node.pop) };
    let mut spans = vec![
        Span::styled(format!("{}{pop}", node.name), bold),
        Span::raw(format!(
            "  nigh {}  up {}  {} of {} alive, {} linked",
            node.version,
            age(node.uptime_s),
            mesh.alive,
            mesh.members,
            mesh.links
        )),
    ];
    let mut flag = |text: String| spans.push(Span::styled(format!("  {text}"), paint.tone(Tone::Bad)));
    if node.draining {
        flag("DRAINING".to_owned());
    }
    if status.measuring.isolated {
        flag("ISOLATED".to_owned());
    }
    if !status.warnings.is_empty() {
        flag(format!("{} warning{}", status.warnings.len(), if status.warnings.len() == 1 { "" } else { "s" }));
    }
    if !board.trouble.is_empty() {
        flag(format!("NO ANSWER for {}", age(now.saturating_sub(board.taken).as_secs())));
    }
    if board.paused {
        flag("PAUSED".to_owned());
    }
    Line::from(spans)
}

fn tabs<'a>(view: View) -> Line<'a> {
    let mut spans = Vec::new();
    for (number, one) in View::ALL.iter().enumerate() {
        let style = if *one == view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(format!(" {} {} ", number + 1, one.title()), style));
    }
    Line::from(spans)
}

fn footer<'a>(board: &Board, paint: Paint) -> Line<'a> {
    if !board.trouble.is_empty() {
        return Line::styled(board.trouble.clone(), paint.tone(Tone::Bad));
    }
    Line::styled("q quit  tab or 1-5 view  arrows scroll  p pause  ? help", paint.faint())
}

fn titled<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::new().borders(Borders::TOP).title(title)
}

fn overview(frame: &mut Frame<'_>, board: &Board, sample: &Sample, paint: Paint, area: Rect, now: Duration) {
    // What there is little of gets what it needs; the rest shares what is left.
    let members_need = u16::try_from(sample.peers.len()).unwrap_or(u16::MAX).saturating_add(2);
    let services_need = u16::try_from(sample.services.len()).unwrap_or(u16::MAX).saturating_add(2);
    let rest = area.height.saturating_sub(7);
    let [rates, nodes, given, happened] = Layout::vertical([
        Constraint::Length(7.min(area.height)),
        Constraint::Length(members_need.min(rest / 3)),
        Constraint::Length(services_need.min(rest / 3)),
        Constraint::Min(0),
    ])
    .areas(area);
    let [plot, kinds] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(rates);
    let now_rate = board.queries.back().copied().unwrap_or_default();
    let most = board.queries.iter().max().copied().unwrap_or_default();
    let block = titled(format!("queries/s: {now_rate}, at most {most} "));
    let width = usize::from(block.inner(plot).width);
    let from = board.queries.len().saturating_sub(width);
    let points: Vec<u64> = board.queries.iter().skip(from).copied().collect();
    frame.render_widget(Sparkline::default().block(block).data(points), plot);
    frame.render_widget(by_kind(board, sample).block(titled("answers by kind, per second and in all ")), kinds);
    members(frame, sample, paint, nodes, 0);
    services(frame, sample, paint, given, 0);
    events(frame, board, paint, happened, 0, now);
}

/// The busiest kinds first, in two columns.
fn by_kind<'a>(board: &Board, sample: &Sample) -> Table<'a> {
    let rate = |name: &str| board.rates.get(name).copied().unwrap_or_default();
    let mut kinds: Vec<(&String, u64)> = sample
        .status
        .dns
        .counters
        .iter()
        .filter(|(name, count)| *name != "queries" && **count > 0)
        .map(|(n, c)| (n, *c))
        .collect();
    kinds.sort_by(|a, b| rate(b.0).total_cmp(&rate(a.0)).then(b.1.cmp(&a.1)).then(a.0.cmp(b.0)));
    let rows = kinds
        .into_iter()
        .map(|(name, count)| Row::new([name.replace('_', " "), format!("{:.0}", rate(name)), count.to_string()]));
    Table::new(rows, [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(11)])
}

fn heads<const N: usize>(titles: [&'static str; N], paint: Paint) -> Row<'static> {
    Row::new(titles).style(paint.faint())
}

fn table<'a, const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: String,
    head: Row<'a>,
    rows: Vec<Row<'a>>,
    widths: [Constraint; N],
    scroll: u16,
) {
    let rows = rows.into_iter().skip(usize::from(scroll));
    frame.render_widget(Table::new(rows, widths).header(head).block(titled(title)), area);
}

fn verdict(verdict: Verdict, paint: Paint) -> Style {
    match verdict {
        Verdict::Alive => paint.tone(Tone::Good),
        Verdict::Dead => paint.tone(Tone::Bad),
        _ => Style::new(),
    }
}

fn members(frame: &mut Frame<'_>, sample: &Sample, paint: Paint, area: Rect, scroll: u16) {
    let row = |peer: &Peer| {
        let name = if peer.name.is_empty() { peer.id.chars().take(8).collect() } else { peer.name.clone() };
        let link = match (peer.is_self, peer.linked) {
            (true, _) => "self",
            (false, true) => "linked",
            (false, false) => NOTHING,
        };
        let addresses: Vec<String> = peer.dns_addresses.iter().map(ToString::to_string).collect();
        Row::new([
            Cell::new(name),
            Cell::new(peer.pop.clone()),
            Cell::new(peer.verdict.as_str()).style(verdict(peer.verdict, paint)),
            Cell::new(link),
            Cell::new(millis(peer.rtt_ms)),
            Cell::new(peer.version.clone()),
            Cell::new(peer.cuts.join(" ")),
            Cell::new(addresses.join(" ")),
        ])
    };
    let widths = [
        Constraint::Length(12),
        Constraint::Length(14),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let head =
        heads(["node", "pop", "verdict", "link", "RTT ms", "version", "serves the cuts of", "answers at"], paint);
    let title = format!("members ({}) ", sample.peers.len());
    table(frame, area, title, head, sample.peers.iter().map(row).collect(), widths, scroll);
}

fn services(frame: &mut Frame<'_>, sample: &Sample, paint: Paint, area: Rect, scroll: u16) {
    let me = &sample.status.node.name;
    let row = |service: &ServiceLine| {
        let own = |row: &&LatencyLine| row.node == *me && row.service == service.name;
        let up = sample.rows.iter().filter(own).filter(|row| row.state == ServerState::Up).count();
        let all = service.servers.len();
        let chosen = sample.chosen.get(&service.name).cloned().unwrap_or_default();
        let rtt = chosen
            .servers
            .first()
            .and_then(|id| sample.rows.iter().filter(own).find(|row| row.server == *id).and_then(|row| row.rtt_ms));
        let tone = if up == 0 && all > 0 { Tone::Bad } else { Tone::Plain };
        let given = if chosen.servers.is_empty() { NOTHING.to_owned() } else { chosen.servers.join(" ") };
        Row::new([
            Cell::new(service.name.clone()),
            Cell::new(format!("{up}/{all}")).style(paint.tone(tone)),
            Cell::new(given),
            Cell::new(millis(rtt)),
            Cell::new(chosen.why),
        ])
    };
    let widths =
        [Constraint::Fill(3), Constraint::Length(7), Constraint::Fill(2), Constraint::Length(7), Constraint::Fill(2)];
    let head = heads(["service", "up", "given here", "RTT ms", "why"], paint);
    let title = format!("services ({}), as {me} answers ", sample.services.len());
    table(frame, area, title, head, sample.services.iter().map(row).collect(), widths, scroll);
}

fn rows(frame: &mut Frame<'_>, sample: &Sample, paint: Paint, area: Rect, scroll: u16) {
    let row = |row: &LatencyLine| {
        let tone = match row.state {
            ServerState::Up => Tone::Good,
            ServerState::Down => Tone::Bad,
            ServerState::Unknown => Tone::Plain,
        };
        Row::new([
            Cell::new(row.node.clone()),
            Cell::new(row.service.clone()),
            Cell::new(row.server.clone()),
            Cell::new(if row.flapping { "flapping" } else { row.state.as_str() }).style(paint.tone(tone)),
            Cell::new(millis(row.rtt_ms)),
            Cell::new(format!("{:.0}", row.loss * 100.0)),
            Cell::new(age(row.age_s as u64)),
            Cell::new(row.why.clone()),
        ])
    };
    let widths = [
        Constraint::Length(10),
        Constraint::Fill(2),
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Fill(2),
    ];
    let head = heads(["node", "service", "server", "state", "RTT ms", "loss %", "age", "why"], paint);
    let title = format!("measurements ({}) ", sample.rows.len());
    table(frame, area, title, head, sample.rows.iter().map(row).collect(), widths, scroll);
}

fn events(frame: &mut Frame<'_>, board: &Board, paint: Paint, area: Rect, scroll: u16, now: Duration) {
    let line = |event: &Event| {
        let ago = age(now.saturating_sub(event.at).as_secs());
        Line::from(vec![
            Span::styled(format!("{:>9}  ", format!("{ago} ago")), paint.faint()),
            Span::styled(event.what.clone(), paint.tone(event.tone)),
        ])
    };
    let mut lines: Vec<Line<'_>> = board.events.iter().skip(usize::from(scroll)).map(line).collect();
    if lines.is_empty() {
        lines.push(Line::styled("nothing has changed since this program was started", paint.faint()));
    }
    frame.render_widget(Paragraph::new(lines).block(titled("events ")), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let text = "\
1 to 5        overview, members, services, measurements, events
tab, ← →      the next view, the one before
↑ ↓ PgUp PgDn scroll; Home: to the top
p             pause: the picture stays
q, Esc        end (also Ctrl-C)

\"given here\" is what this node answers the resolvers
that it claims. Events are seen by comparing one look
with the next: what came and went between is not there.";
    let (width, height) = (62.min(area.width), 12.min(area.height));
    let at = Rect::new(
        area.x + area.width.saturating_sub(width) / 2,
        area.y + area.height.saturating_sub(height) / 2,
        width,
        height,
    );
    frame.render_widget(Clear, at);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" keys ")), at);
}
