//! The checker of redundancy: what the node counts as whole has every shard where it belongs, and what lacks one is counted.

use futures_util::future::join_all;

use super::space::{extents, shards_of};
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::node::repair::Survey;

/// Compares what a survey has counted with what the stores have, each shard asked for and read where it lies.
///
/// # Errors
/// Says which number is wrong; in the outer result those of reading the namespace.
pub async fn check_survey(
    cluster: &Cluster,
    survey: &Survey,
) -> Result<Result<(), String>, ClusterError> {
    let mut below_target = 0;
    let mut first = None;
    let extents = extents(cluster)?;
    for extent in &extents {
        let shards = shards_of(cluster, extent);
        let verified = shards
            .iter()
            .map(|(place, id)| cluster.verify_shard(*place, *id));
        let lacking = join_all(verified).await.into_iter().zip(&shards);
        let mut lacking = lacking.filter_map(|(verified, shard)| Some((shard, verified.err()?)));
        if let Some((shard, why)) = lacking.next() {
            below_target += 1;
            first.get_or_insert_with(|| format!("{shard:?}: {why}"));
        }
    }
    if below_target == survey.below_target && extents.len() as u64 == survey.chunks {
        return Ok(Ok(()));
    }
    Ok(Err(format!(
        "{} of {} chunks are said to lack shards, and {below_target} of {} do; the first: {first:?}",
        survey.below_target,
        survey.chunks,
        extents.len()
    )))
}
