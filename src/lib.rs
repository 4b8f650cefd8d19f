//! retentiond
pub mod audit;
pub mod config;
pub mod dispose;
pub mod error;
pub mod finding;
pub mod hold;
pub mod judge;
pub mod record;
pub mod schedule;
pub mod store;
pub mod yaml;
