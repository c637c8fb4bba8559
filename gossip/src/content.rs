//! What this crate reads in a page: the tables below 16. Decoded once for each page, however many ask.

use crate::{
    admission::{self, Certificate},
    codec,
    liveness::verdict::{MAX_ACCUSED, WatchRow},
    member::Member,
    operator::Appointment,
    page::{Page, Table},
};

/// The meaning of a page's body.
#[derive(Debug)]
pub(crate) enum Content {
    /// [`Table::MEMBER`].
    Member(Member),
    /// [`Table::WATCH`].
    Watch(Vec<WatchRow>),
    /// [`Table::ADMISSION`].
    Certificate(Certificate),
    /// [`Table::REVOCATION`].
    Revocation,
    /// [`Table::OPERATOR`].
    Appointment(Appointment),
    /// Another table, a withdrawn page, or a body that cannot be read (a newer major format).
    Unread,
}

impl Content {
    pub(crate) fn read(page: &Page) -> Self {
        match page.key().table {
            Table::MEMBER => Member::read(page).map(|(_, member)| Self::Member(member)),
            Table::WATCH => codec::decode(page.body()).ok().map(|mut rows: Vec<WatchRow>| {
                rows.truncate(MAX_ACCUSED);
                Self::Watch(rows)
            }),
            Table::ADMISSION => Certificate::read(page).map(Self::Certificate),
            Table::REVOCATION => admission::read_revocation(page).map(|_| Self::Revocation),
            Table::OPERATOR => Appointment::read(page).map(Self::Appointment),
            _ => None,
        }
        .unwrap_or(Self::Unread)
    }
}

impl Page {
    /// The member that this page describes.
    pub(crate) fn member(&self) -> Option<&Member> {
        match self.content() {
            Content::Member(member) => Some(member),
            _ => None,
        }
    }

    /// The accusations that this page holds.
    pub(crate) fn watch_rows(&self) -> &[WatchRow] {
        match self.content() {
            Content::Watch(rows) => rows,
            _ => &[],
        }
    }

    /// The certificate that this page is.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self.content() {
            Content::Certificate(certificate) => Some(certificate),
            _ => None,
        }
    }

    /// What this page says of an operator's key.
    #[must_use]
    pub fn appointment(&self) -> Option<&Appointment> {
        match self.content() {
            Content::Appointment(appointment) => Some(appointment),
            _ => None,
        }
    }
}
