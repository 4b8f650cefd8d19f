//! What the grade of an outcome claims, held against the raw disk.
//!
//! File systems are made in image files and mounted; files and rows full of canaries, which occur nowhere else, are written to them; the built
//! program destroys them; and then the raw image is searched. A grade must never be better than what the search finds. So that the search is
//! known to work, every canary is found on the image before, and every case that must leave something is seen to leave it.
//!
//! Only root can mount. Elsewhere, or where a file system is missing, each test says so on the terminal and ends.
//!
//! `cargo test --test canary -- --nocapture` prints a row for each case: file system, record, outcome, canaries before and after, caveats.

mod elsewhere;
mod files;
mod image;
mod lab;
mod rows;
