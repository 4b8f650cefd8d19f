//! What people decide and do, before the built program: records on paper that they destroy, rows that lose their names, records that vanish.
//!
//! Each test goes through files or lists and every engine that there is. Where a server is missing, a line says so and the engine is left out.

mod anonymise;
mod lost;
mod month;
mod paper;
#[path = "../databases/program.rs"]
#[allow(dead_code, reason = "what the databases' tests need of it as well")]
mod program;
#[path = "../servers/mod.rs"]
mod servers;
mod table;
