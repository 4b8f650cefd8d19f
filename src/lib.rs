//! retentiond
pub mod assess;
pub mod audit;
pub mod clock;
pub mod config;
pub mod dispose;
pub mod error;
pub mod finding;
pub mod hold;
pub mod judge;
pub mod plan;
pub mod record;
pub mod scan;
pub mod schedule;
pub mod spool;
pub mod store;
pub mod yaml;
