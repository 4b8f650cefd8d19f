//! retentiond carries out an organisation's retention schedule.
//!
//! A retention schedule is a legal document: "unsuccessful applications: 6 months after the outcome, then destroyed". This program reads it, looks
//! into the stores where the records live, works out which records have reached the end of their period, flags or destroys them, and writes an
//! append-only log that proves to an outsider what it did and why. People point it at their only copy of somebody's records, so every step is
//! arranged such that doubt keeps: a record that should have gone can go tomorrow; one that went by mistake never comes back.
//!
//! # The way of a record
//!
//! A [`config`] joins two files: the [`schedule`], which says what the law says and names no system, and the configuration, which says where the
//! records live. Then, for each dataset:
//!
//! 1. A [`store`] **scans**: it yields [`record`]s, with a reading for each event that matters, or a doubt. It leaves out what cannot be due, by
//!    comparing event dates with a cutoff; it never does calendar arithmetic. ([`scan`])
//! 2. Each record is **judged**: class, readings, holds and today's date make a verdict with reasons. This is pure. ([`judge`]; what it must know
//!    from elsewhere, [`assess`] asks)
//! 3. What is due is frozen in a **plan**, from a complete scan only, and held against limits. Its items are on disk. ([`plan`], [`spool`])
//! 4. The plan is spent through the **one door**: permit → intent, durable in the log → the store removes, after looking once more → outcome.
//!    ([`dispose`]) What a crash leaves open is settled by looking, at the next start. ([`recover`])
//! 5. Every step is an entry of the **audit log**: a Merkle tree in the public C2SP formats, signed. ([`audit`]) The [`register`] is a projection
//!    of it, for quick answers. From the log alone every decision can be derived again. ([`replay`]) A log that can no longer be signed is followed by
//!    one that names it. ([`anew`])
//!
//! A person's request for [`erasure`] is decided record by record, by what the classes say; what goes because of one goes through the same door, by
//! leave that is made of the decision's entry and of nothing else.
//!
//! Records that vanish before their time and not through this program are missed by the [`inventory`] of their dataset, where it keeps one.
//!
//! A [`session`] holds all this together for one run; [`cli`] is what people type, and [`report`] what they read. The [`daemon`] runs every dataset
//! on its timetable, and answers through the [`control`] socket. Whoever watches it does so through [`metrics`], notices ([`notify`]) and the journal
//! ([`logging`]).
//!
//! # What is promised
//!
//! Nothing is destroyed without a durable reason. Doubt keeps. A hold always wins. One door. The blast radius is bounded. Report mode is the
//! default. The log holds no personal data. The log is the truth. A dry run is the real run, stopped before it spends. Memory does not grow with
//! the number of records. Each of these has tests that try to break it.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("retentiond is written for 64-bit Linux: it relies on openat2, statx and file sizes that fit into a usize");

pub mod anew;
pub mod assess;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dispose;
pub mod erasure;
pub mod error;
pub mod finding;
pub mod hold;
pub mod inventory;
pub mod judge;
pub mod logging;
pub mod metrics;
pub mod notify;
pub(crate) mod password;
pub mod plan;
pub mod protect;
pub mod record;
pub mod recover;
pub mod register;
pub mod replay;
pub mod report;
pub mod review;
pub mod scan;
pub mod schedule;
pub mod session;
pub mod spool;
pub mod store;
pub mod yaml;
