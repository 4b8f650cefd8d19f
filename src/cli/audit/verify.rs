//! `retentiond audit verify`: the log, checked offline with nothing but its folder and the public key.

use clap::Args;

use super::Place;
use crate::audit::verify;
use crate::cli::progress::Counted;
use crate::cli::{Common, DONE, FINDINGS, print_line};
use crate::error::Result;
use crate::report;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
}

pub(crate) fn execute(common: &Common, options: &Options) -> Result<u8> {
    let (log, key) = options.place.find(common)?;
    let shown = Counted::show("verified");
    let verified = verify(&log, &key, &|done, total| shown.set(done, total))?;
    drop(shown);
    if common.json {
        print_line(&report::verified_json(&verified).to_string())?;
    } else {
        print_line(&report::verified(&log, &verified))?;
    }
    Ok(if verified.open_intents > 0 { FINDINGS } else { DONE })
}
