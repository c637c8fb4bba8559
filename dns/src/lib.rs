//! The answers: from what a node knows to the bytes of a DNS reply.
//!
//! The crate knows nothing of how nodes tell each other things. It takes a [`World`], which is plain data, lays it out
//! as a [`Snapshot`], and answers from that.
//!
//! ```text
//!   World ──build──▶ Snapshot ◀──────────────┐ one load per packet
//!                                            │
//!   UDP, TCP ─▶ front ─▶ Handler ─▶ answer ──┴─▶ place in zone or cut ─┬─▶ course (claims) ─▶ ranking (steer)
//!                           │         ▲                                ├─▶ the operators' records
//!                           │         └──────────── a static CNAME ────┘     the same functions ──▶ explain
//!                           ├─ fit: what is left out when space is short
//!                           └─ Counters
//! ```
//!
//! **Invariant:** everything but the fronts ([`serve`]) and the counters is a function of its arguments: no clock, no
//! randomness, no I/O.

mod alias;
mod answer;
mod binding;
mod carried;
mod claims;
mod cookie;
mod counters;
mod current;
mod decide;
mod demand;
mod dnstap;
mod edns;
mod examine;
mod explain;
mod explain_names;
mod explain_page;
mod fast;
mod fit;
mod handler;
mod house;
mod label;
mod metrics;
mod network;
mod notify;
mod policy;
mod problem;
mod query;
mod rank;
mod rate_limit;
mod records;
mod reply;
mod response;
mod serve;
mod shed;
mod snapshot;
mod static_names;
mod steer;
mod tcp;
mod udp;
mod whoami;
mod wire_name;
mod world;
mod written_servers;
mod zone;

pub use answer::answer;
pub use claims::networks::{Guess, MOST_RANGES, NetworkTable, Networks, Ranges, TooManyRanges, country_value};
pub use claims::{Best, ClaimChange, ClaimTable};
pub use counters::{Counters, Counts};
pub use current::Current;
pub use decide::{Basis, Client, Decision, Direct, Way, decide, estimate, shares};
pub use demand::{Demanded, SAMPLE};
pub use dnstap::{TapCounts, Tapper, Target as TapTarget};
pub use edns::LARGEST_UDP;
pub use explain::{ClaimLine, Explanation, ScoreLine, ServerLine, explain};
pub use explain_page::folded;
pub use handler::{Arrival, Handler};
pub use label::{LONGEST_LABEL, Label, LabelError};
pub use metrics::{Exposition, Metric, MetricKind, MetricLabel, Samples};
pub use notify::NotifySink;
pub use policy::{AllDown, Choice, Cost, Duty, Milli, Objective, Override, Pace, Pin, Policy, Sticky, Terms};
pub use problem::Problem;
pub use query::{Asked, AskedName, CookieOption, Fault, Opt, OptFault, Query, Subnet, Tsig};
pub use rank::Rank;
pub use records::{MOST_ADDRESSES, MOST_CUT_NAMESERVERS, MOST_NAMESERVERS, NAMESERVER_TTL, NEGATIVE_TTL, REFERRAL_TTL};
pub use reply::{Kind, Question, Reply, Transport};
pub use serve::{Front, serve};
pub use snapshot::{CutRole, Snapshot};
pub use steer::{Family, MAX_OVERRIDES, Ranked, Ranking, Reason, Score, Seen, Share, Shares};
pub use whoami::{NONCE, Witness};
pub use world::{Claim, Mode, Node, Row, RowState, RrSet, Server, Service, Standing, SvcParams, World, Zone};
