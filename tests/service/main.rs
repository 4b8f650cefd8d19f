//! The built program as a service: `retentiond daemon` on real folders, with clients of every kind, signals, kills, and clocks that are set.
//!
//! Nothing of the machine's own is used: each service has a folder of its own, with its control socket. Some tests need `faketime` or root and are
//! skipped, with the reason, where these are missing.

mod alone;
mod clients;
mod clock;
mod edits;
mod house;
mod idle;
mod nights;
mod reload;
mod restarts;
mod waiting;
