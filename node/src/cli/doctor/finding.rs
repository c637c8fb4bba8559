//! What was found: how it stands, what is wrong, and what to do about it.

use serde::Serialize;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// Somebody should look: it works, or it could not be told from here.
    Look,
    /// It does not work, or will not for long.
    Bad,
}

impl Grade {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::Bad => "bad",
        }
    }
}

/// The part of a node's life that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Area {
    /// The file, and what it names.
    Configuration,
    /// The process.
    Node,
    /// Where it answers.
    Ports,
    /// Capabilities, limits and buffers.
    Rights,
    /// Room for its state.
    Disk,
    /// The time.
    Clock,
    /// What ends by itself.
    Certificates,
    /// The other nodes.
    Mesh,
    /// What DNS-A says.
    Delegation,
    /// Whose node this is.
    Resolvers,
    /// What passes to the other nodes.
    Path,
}

impl Area {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Node => "node",
            Self::Ports => "ports",
            Self::Rights => "rights",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Certificates => "certificates",
            Self::Mesh => "mesh",
            Self::Delegation => "delegation",
            Self::Resolvers => "resolvers",
            Self::Path => "path",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is about.
    pub(crate) area: Area,
    /// How it stands.
    pub(crate) grade: Grade,
    /// What was seen.
    pub(crate) what: String,
    /// What to do; empty where there is nothing to do.
    #[serde(rename = "do")]
    pub(crate) todo: String,
}

impl Finding {
    /// All is well.
    pub(crate) fn ok(area: Area, what: impl Into<String>) -> Self {
        Self { area, grade: Grade::Ok, what: what.into(), todo: String::new() }
    }

    /// Somebody should look.
    pub(crate) fn look(area: Area, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { area, grade: Grade::Look, what: what.into(), todo: todo.into() }
    }

    /// It does not work.
    pub(crate) fn bad(area: Area, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { area, grade: Grade::Bad, what: what.into(), todo: todo.into() }
    }
}

/// All findings, in the order in which things depend on each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// The node's name; empty if neither its file nor the node told.
    pub(crate) node: String,
    /// What was found.
    pub(crate) findings: Vec<Finding>,
    /// How many are well.
    pub(crate) ok: usize,
    /// How many somebody should look at.
    pub(crate) look: usize,
    /// How many are bad.
    pub(crate) bad: usize,
}

impl Report {
    /// Counts.
    pub(crate) fn new(node: String, findings: Vec<Finding>) -> Self {
        let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
        let (ok, look, bad) = (count(Grade::Ok), count(Grade::Look), count(Grade::Bad));
        Self { node, findings, ok, look, bad }
    }

    /// As a page.
    pub(crate) fn page(&self) -> String {
        let mut lines = Vec::new();
        for finding in &self.findings {
            lines.push(format!("{:<4}  {:<13}  {}", finding.grade.as_str(), finding.area.as_str(), finding.what));
            lines
                .extend(Some(&finding.todo).filter(|todo| !todo.is_empty()).map(|todo| format!("{:21}do: {todo}", "")));
        }
        let verdict = match (self.bad, self.look) {
            (0, 0) => "all is well".to_owned(),
            (0, look) => format!("{look} to look at, nothing bad"),
            (bad, 0) => format!("{bad} bad"),
            (bad, look) => format!("{bad} bad, {look} to look at"),
        };
        lines.push(format!("\n{verdict}; {} ok", self.ok));
        lines.join("\n")
    }
}
