//! retentiond
pub mod audit;
pub mod error;
