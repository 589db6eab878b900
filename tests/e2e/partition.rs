//! A node that is cut off and lives: what others make of it, what it goes on doing, and how it comes back.

use crate::calls::{Calls, answered};
use crate::fleet::{Fleet, Pod, hello_on, hello_that_leaves};
use crate::process::{eventually, get};

/// For a pod that stays where it is, whatever becomes of the node.
const STAYS: &str = "{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}";

fn names_any(pods: &[Pod], answer: &str) -> bool {
    pods.iter().any(|pod| answer.contains(&pod.name))
}

#[test]
fn a_node_that_is_cut_off_serves_on_is_replaced_and_keeps_what_is_still_its_own() {
    let fleet = Fleet::start(&["--node-monitor-grace-period", "15s"]);
    if !fleet.lab.can_cut("a node that is cut off") {
        return;
    }
    let (one, two) = (fleet.join("one"), fleet.join("two"));
    fleet.server.push("hello", "hello:v1");
    fleet.apply(&(hello_on("two", "keeper", STAYS) + &hello_that_leaves()));
    let (hello, keeper) = (fleet.server.node_port("hello"), fleet.server.node_port("keeper"));
    let (lost, left): (Vec<Pod>, Vec<Pod>) = fleet.pods("hello").into_iter().partition(|pod| pod.node == "two");
    let kept = fleet.pods("keeper");
    assert!(!lost.is_empty() && !left.is_empty() && kept.len() == 1, "{lost:?} {left:?} {kept:?}");
    let calls = Calls::begin(one.host.address, hello, "/");
    eventually("answers from the node that will be cut off", || {
        answered(calls.take()).iter().any(|name| names_any(&lost, name)).then_some(())
    });

    two.host.cut();
    let own = |port| two.host.within(|| get(two.host.address, port, "/"));
    let (status, text) = own(keeper).expect("the node answers for itself");
    assert!(status == 200 && names_any(&kept, &text), "{text}");
    eventually("Unknown", || (fleet.ready("two") == "Unknown").then_some(()));
    eventually("three pods on the node that is left", || {
        let pods = fleet.pods("hello");
        (pods.iter().filter(|pod| pod.is_running && pod.node == "one").count() == 3).then_some(())
    });
    assert!(fleet.pods("hello").iter().filter(|pod| pod.node == "two").all(|pod| pod.is_deleted));
    assert_eq!(fleet.pods("keeper").iter().map(|pod| &pod.uid).collect::<Vec<_>>(), [&kept[0].uid]);
    eventually("answers from the node's own pods, in its own network", || {
        own(hello).filter(|(status, text)| *status == 200 && names_any(&lost, text))
    });

    two.host.restore();
    eventually("Ready again", || (fleet.ready("two") == "True").then_some(()));
    eventually("the end of the pods that were replaced", || (fleet.pods("hello").len() == 3).then_some(()));
    eventually("the end of them on the node too", || {
        let (status, text) = get(two.host.address, hello, "/")?;
        (status == 200 && !names_any(&lost, &text)).then_some(())
    });
    answered(calls.end());
    assert_eq!(fleet.pods("keeper"), kept, "what is still its own runs on");
    eventually("an answer of what is still the node's own, on the other node", || {
        get(one.host.address, keeper, "/").filter(|(status, text)| *status == 200 && names_any(&kept, text))
    });
}
