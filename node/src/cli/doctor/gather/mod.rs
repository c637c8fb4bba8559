//! Gathers facts: the only impure part of the doctor.

pub(super) mod clock;
pub(super) mod delegation;
pub(super) mod dns;
pub(super) mod host;
pub(super) mod path;
pub(super) mod ports;
