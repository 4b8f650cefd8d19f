//! retentiond
pub mod audit;
pub mod error;
pub mod finding;
pub mod schedule;
pub mod yaml;
