//! `retentiond daemon`

use super::{Common, DONE};
use crate::daemon;
use crate::error::Result;

pub(crate) async fn execute(common: &Common) -> Result<u8> {
    daemon::serve(&common.config).await?;
    Ok(DONE)
}
