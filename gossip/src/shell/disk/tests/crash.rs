//! Crashes at any point: a process that is killed, and a machine that loses what it did not sync.
