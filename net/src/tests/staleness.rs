//! A log that is older than the data beside it.

use std::collections::BTreeMap;

use strata_engine::reactor::Simulation;

use super::world::{Node, Shape, content, path_of, run};
use crate::node::NodeError;
use crate::node::staleness::{NewestEpochs, refuse_stale_log};

fn judge(node: &Node, by_writer: BTreeMap<u32, u32>) -> Result<(), NodeError> {
    let held = NewestEpochs {
        path: path_of(0),
        by_writer,
    };
    refuse_stale_log(&node.cluster.parts().namespace, &[held])
}

#[test]
fn data_of_a_writer_or_an_epoch_that_the_log_does_not_know_refuses_the_log() {
    run(&Simulation::new(60), 16, async || {
        let node = Node::start(&Shape::single(1, 8)).await;
        node.put("k", &content(1, 300_000)).await.expect("stored");
        let held = node.newest_epochs(0);
        assert_eq!(held.len(), 1, "{held:?}");
        judge(&node, held.clone()).expect("the log knows it");
        let (writer, epoch) = held.into_iter().next().expect("a writer");
        for newer in [(writer, epoch + 1), (writer + 1, 1)] {
            let refused = judge(&node, BTreeMap::from([newer]));
            let message = refused.expect_err("newer than the log").to_string();
            assert!(message.contains("/device0"), "{message}");
        }
        node.cluster.rotate_epoch().await.expect("another epoch");
        judge(&node, BTreeMap::from([(writer, epoch + 1)])).expect("the log knows it now");
    });
}
