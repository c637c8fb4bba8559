//! Scenarios against real resolvers: a wide area network in network namespaces, real name servers around our nodes, and
//! faults. See README.md of this crate for how to run one and how to add one.
//!
//! ```text
//! storm, scenario --> bed (hosts, daemons, clients) --> lab (runs, namespaces, processes)
//!     |                          |                        ^
//!     +--> report                +--> wan ---------------+--> sys (all unsafe code)
//! ```

pub mod bed;
pub mod hostile;
pub mod lab;
pub mod machine;
pub mod report;
pub mod scenario;
pub mod storm;
pub mod sys;
pub mod wan;
