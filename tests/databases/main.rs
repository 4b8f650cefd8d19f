//! The built program in front of real database servers: whole runs, dates looked up across stores, kills, TLS, passwords, and what is left of a
//! row on the server's disk.
//!
//! Each test goes through [`program::ENGINES`]. Where a server is missing, a line says so and the engine is left out.

mod canary;
mod estate;
mod kills;
mod program;
mod review;
mod runs;
mod secrets;
#[path = "../servers/mod.rs"]
mod servers;
mod throttle;
mod tls;
mod twins;
mod watchdog;
