//! The node: one `nigh` process, DNS-LB for the resolvers it claims and DNS-B for everyone else.
//!
//! This crate joins the two that do not know each other: [`nigh_gossip`] replicates, [`nigh_dns`] answers, and
//! `projection` is the one file that turns replicated pages into the snapshot a packet is answered from.

pub mod admin;
pub mod backups;
pub mod catalogue;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod cuts;
pub mod dashboard;
pub mod demo;
pub mod discovery;
pub mod dns_a;
pub mod facts;
pub mod history;
pub mod identity;
pub mod location;
pub mod logging;
pub mod measure;
pub mod membership;
pub mod metrics;
pub mod pressure;
pub mod preview;
pub mod projection;
pub mod publisher;
pub mod run;
pub mod running;
pub mod service_manager;
pub mod sockets;
pub mod tables;
pub mod telemetry;
