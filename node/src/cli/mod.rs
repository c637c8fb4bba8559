//! The command line.
//!
//! Exit codes: `exit`. Errors are one line, or one for each mistake in a file, and say what to do.
//!
//! Commands that read print a table for people, or with `--json` the API's own JSON, unchanged.

mod admit;
mod apply;
mod check;
mod dns_a;
mod doctor;
mod exit;
mod files;
mod id;
mod init;
mod manual;
mod operator;
mod output;
mod preview;
mod probes;
mod read;
mod revoke;
mod server;
mod table;
mod token;
mod top;
mod trace;

use std::ffi::OsString;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use manual::reference;

use crate::admin::{Client, ExplainQuery, QueryType};
use crate::config::{Config, DEFAULT_SOCKET};
use crate::telemetry::{self, Telemetry};
use crate::{demo, logging, run};

/// The variable that names the admin socket.
const SOCKET_ENV: &str = "NIGH_SOCKET";

/// nigh: a mesh of DNS load balancers that answer with the server nearest to the one who asks.
#[derive(Debug, Parser)]
#[command(name = "nigh", version, about, disable_help_subcommand = true, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Run(ConfigFile),
    /// Check a configuration: every mistake at once, and nothing is opened
    CheckConfig(ConfigFile),
    /// Make a root key, and with it a new mesh
    Init(init::Init),
    /// Print a node's public key, which `nigh admit` needs; makes the key if there is none
    Id(id::Id),
    /// Admit a node to the mesh, or renew its certificate
    Admit(admit::Admit),
    /// End a node's membership
    Revoke(revoke::Revoke),
    /// Whose keys do the daily work: appoint, dismiss, list and rotate them
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Make the mesh's catalogue what FILE says; what is not in FILE is removed
    Apply(apply::Apply),
    /// Drain a server of a service, switch it off, or put it back
    #[command(subcommand)]
    Server(server::Server),
    /// The node at a glance
    ///
    /// `members`: the nodes that were admitted, how many are alive, and to how many this one has a link. `pages`: what it
    /// holds of the mesh, each page signed by who wrote it (nodes write their claims and measurements, operators the
    /// catalogue and who is a member); nodes of equal `state` hold equal pages. `snapshot`: the number of the picture that
    /// it answers from, which is made anew when something changes. `answered`: questions since its start, by what became of
    /// them. `measuring`: its probes. `warning`: what someone should look at.
    Status(Read),
    /// Make a token for the admin API over TCP: who has it may read, or edit as well
    Token(token::Token),
    /// All nodes that have spoken, and where they stand
    ///
    /// LINK: `self` is the node that was asked, `linked` one that it has a connection to, `-` one that it knows of. CUTS:
    /// the nodes in whose zones it answers: its own, and those that it is a backup of.
    Peers(Read),
    /// All nodes that were admitted or revoked, and until when
    Members(Read),
    /// Proofs that a key is in use twice, or that its owner lies
    Equivocations(Read),
    /// Which node claims which resolvers
    ///
    /// BEST: `best` is the claim by which resolvers in the prefix are sent to the node, of several the one of lowest
    /// preference; `-` has a better one beside it, or a node that is not alive; `void` is outside what the node's
    /// certificate allows, and counts nowhere. PROVEN BY: the node that saw the resolver ask from there, and AGE, when.
    Claims(Read),
    /// Networks that ask this node most and that nobody claims: what to cover next
    Unclaimed(Read),
    /// What each node measured of each server
    Latency(Read),
    /// What this node probes: how often and why, what came of it, what comes next
    Probes(Read),
    /// The services and their servers
    Services(Read),
    /// The servers that were imported from DNS-A, by origin
    Pools(Read),
    /// The delegations that the mesh keeps at DNS-A: what the parent lists, and what would be changed
    Delegations(Read),
    /// What a query would be answered, and why
    Explain(Explain),
    /// A node and its mesh, live: queries, members, services with what they give, what changes
    Top(top::Args),
    /// Look a node over: what is wrong with it, its host, its mesh and its delegation, and what to do
    Doctor(doctor::Args),
    /// Walk from the root to the answer as a resolver does, and show every step: who was asked, what came, how long it took
    Trace(trace::Args),
    /// Withdraw the node's claims, answer a while longer and stop, as on SIGTERM
    Drain(Socket),
    /// Print what makes a shell complete nigh's commands: nigh completions bash
    Completions(manual::Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(manual::Manual),
    /// A mesh of five on this machine, without root: who gets which server, and what a node's death changes
    Demo(demo::Args),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which node is asked, and how it is reached.
#[derive(Clone, Debug, Args)]
struct Socket {
    /// The node's admin socket [env: NIGH_SOCKET] [default: /run/nigh/nigh.sock]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "token_file", "ca"])]
    socket: Option<PathBuf>,
    /// The node's admin API over TCP, such as https://fra.example.net:8053 [env: NIGH_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file with the token for it, made by `nigh token` [env: NIGH_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file with the authority of its certificate, where that is not one of the system's [env: NIGH_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Socket {
    /// Whether a node is named on the command line.
    fn is_given(&self) -> bool {
        self.socket.is_some() || self.url.is_some()
    }

    fn client(self) -> anyhow::Result<Client> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let url = match (self.url, &self.socket) {
            (None, None) => match variable("NIGH_URL").map(OsString::into_string).transpose() {
                Ok(Some(_)) if variable(SOCKET_ENV).is_some() => {
                    let problem = "NIGH_URL and NIGH_SOCKET both name a node; unset one, or use --url or --socket";
                    return Err(WrongInput(problem.into()).into());
                }
                Ok(url) => url,
                Err(_) => return Err(WrongInput("the variable NIGH_URL is no text".into()).into()),
            },
            (url, _) => url,
        };
        if let Some(url) = url {
            let file = |given: Option<PathBuf>, name| given.or_else(|| variable(name).map(PathBuf::from));
            let (token, ca) = (file(self.token_file, "NIGH_TOKEN_FILE"), file(self.ca, "NIGH_CA"));
            return Ok(Client::at(&url, token.as_deref(), ca.as_deref())?.within(telemetry::inherited()));
        }
        let path = self.socket.or_else(|| variable(SOCKET_ENV).map(PathBuf::from));
        let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
        Ok(Client::new(&path).within(telemetry::inherited()))
    }
}

#[derive(Debug, Args)]
struct Read {
    #[command(flatten)]
    socket: Socket,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Explain {
    /// The queried name, such as www.lb.example.com
    name: String,
    /// The address that asks: the resolver's
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,
    /// The queried type: A, AAAA, TXT, HTTPS and so on, or TYPE and a number
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    rtype: QueryType,
    /// Explain on behalf of this node
    #[arg(long, value_name = "NODE")]
    at: Option<String>,
    #[command(flatten)]
    read: Read,
}

/// What was given is wrong: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongInput(String);

/// A file that was given is wrong: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongFile(String);

/// A file that was given is not there: exit code 66.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoFile(String);

/// Runs the command that `args` name, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" too, and go to standard output.
            let code = u8::try_from(error.exit_code()).unwrap_or(exit::Exit::WrongInput as u8);
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::FAILURE };
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(exit::of(&error) as u8)
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(file) => {
            let config = load(file)?;
            block_on(Threads::PerCore, async {
                let telemetry = Telemetry::start(&config).map_err(|e| WrongFile(format!("{e:#}")))?;
                logging::start(&config.log, telemetry.taker()).map_err(|e| WrongInput(format!("{e:#}")))?;
                let ended = run::run(config, telemetry.clone()).await;
                telemetry.stop().await;
                ended
            })??;
        }
        Command::CheckConfig(file) => output::print(&check::report(&load(file)?))?,
        Command::Init(init) => init.run()?,
        Command::Id(id) => id.run()?,
        Command::Token(token) => token.run()?,
        Command::Admit(admit) => block_on(Threads::One, admit.run())??,
        Command::Revoke(revoke) => block_on(Threads::One, revoke.run())??,
        Command::Operator(operator) => block_on(Threads::One, operator.run())??,
        Command::Apply(apply) => block_on(Threads::One, apply.run())??,
        Command::Server(server) => block_on(Threads::One, server.run())??,
        Command::Status(read) => block_on(Threads::One, read::status(read.socket.client()?, read.json))??,
        Command::Peers(read) => block_on(Threads::One, read::peers(read.socket.client()?, read.json))??,
        Command::Members(read) => block_on(Threads::One, read::members(read.socket.client()?, read.json))??,
        Command::Equivocations(read) => block_on(Threads::One, read::equivocations(read.socket.client()?, read.json))??,
        Command::Claims(read) => block_on(Threads::One, read::claims(read.socket.client()?, read.json))??,
        Command::Unclaimed(read) => block_on(Threads::One, read::unclaimed(read.socket.client()?, read.json))??,
        Command::Latency(read) => block_on(Threads::One, read::latency(read.socket.client()?, read.json))??,
        Command::Probes(read) => block_on(Threads::One, read::probes(read.socket.client()?, read.json))??,
        Command::Services(read) => block_on(Threads::One, read::services(read.socket.client()?, read.json))??,
        Command::Pools(read) => block_on(Threads::One, dns_a::pools(read.socket.client()?, read.json))??,
        Command::Delegations(read) => block_on(Threads::One, dns_a::delegations(read.socket.client()?, read.json))??,
        Command::Explain(Explain { name, from, rtype, at, read }) => {
            let query = ExplainQuery { name, from, rtype, at };
            block_on(Threads::One, read::explain(read.socket.client()?, read.json, query))??;
        }
        Command::Top(top) => block_on(Threads::One, top.run())??,
        Command::Doctor(doctor) => return block_on(Threads::One, doctor.run())?,
        Command::Trace(trace) => return block_on(Threads::One, trace.run())?,
        Command::Drain(socket) => block_on(Threads::One, read::drain(socket.client()?))??,
        Command::Completions(completions) => completions.run()?,
        Command::Man(manual) => manual.run()?,
        Command::Demo(args) => return demo::run(args),
    }
    Ok(ExitCode::SUCCESS)
}

/// How many threads a command is worth.
enum Threads {
    One,
    PerCore,
}

fn block_on<F: Future>(threads: Threads, future: F) -> std::io::Result<F::Output> {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::PerCore => tokio::runtime::Builder::new_multi_thread(),
    };
    Ok(builder.enable_all().build()?.block_on(future))
}

fn load(file: ConfigFile) -> anyhow::Result<Config> {
    read_config(&file.file.or(file.config).unwrap_or_default())
}

fn read_config(path: &std::path::Path) -> anyhow::Result<Config> {
    files::read(path, Config::parse)
}
