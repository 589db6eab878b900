//! The one task that owns all pods of the node.

use super::{Config, Error};
use tokio_util::sync::CancellationToken;

/// Runs the agent until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let _ = config.name;
    shutdown.cancelled().await;
    Ok(())
}
