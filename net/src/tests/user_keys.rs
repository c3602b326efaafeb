//! Access keys of users as a reactor keeps them: looked up once, again after every change, and no more of them than fit.

use std::rc::Rc;

use strata_engine::reactor::Simulation;
use strata_raftlog::namespace::command::{
    CreateAccessKey, CreateUser, DeleteAccessKey, PutInlinePolicy, SetAccessKeyActive,
};
use strata_raftlog::namespace::{AccessKey, AccessKeySecret, PolicyText, Principal, UserPolicies};

use super::world::{Node, Shape, run};

const ID: &str = "AKIA0000000000000001";

fn found(node: &Node, id: &str) -> Option<Rc<AccessKey>> {
    node.cluster.access_key(id).expect("a look")
}

fn policies(node: &Node, user: &str) -> Rc<UserPolicies> {
    let found = node.cluster.user_policies(user).expect("a look");
    found.expect("a user")
}

async fn create_user(node: &Node, name: &str) {
    let create = CreateUser {
        name: name.to_owned(),
        path: "/".to_owned(),
        id: format!("AIDA{name:0>17}"),
        account: 1,
        boundary: None,
    };
    node.cluster.submit(create).await.expect("created");
}

async fn create_key(node: &Node, user: &str, id: &str) {
    let create = CreateAccessKey {
        user: user.to_owned(),
        access_key_id: id.to_owned(),
        secret_access_key: AccessKeySecret("hushhush".to_owned()),
    };
    node.cluster.submit(create).await.expect("created");
}

async fn put_policy(node: &Node, user: &str, name: &str, document: &str) {
    let put = PutInlinePolicy {
        principal: Principal::User(user.to_owned()),
        name: name.to_owned(),
        document: document.to_owned(),
    };
    node.cluster.submit(put).await.expect("put");
}

#[test]
fn a_key_is_kept_until_something_about_users_changes() {
    run(&Simulation::new(40), 16, async || {
        let node = Node::start(&Shape::single(1, 8)).await;
        assert!(found(&node, ID).is_none() && found(&node, "no key at all").is_none());
        create_user(&node, "alice").await;
        create_key(&node, "alice", ID).await;
        let first = found(&node, ID).expect("what was absent is there now");
        let again = found(&node, ID).expect("there");
        assert!(Rc::ptr_eq(&first, &again), "it is looked up once");
        assert_eq!(first.user, "alice");
        let before = policies(&node, "alice");
        assert!(Rc::ptr_eq(&before, &policies(&node, "alice")));
        put_policy(&node, "alice", "own", "{}").await;
        let document = PolicyText::Document("{}".to_owned());
        assert_eq!(policies(&node, "alice").policies, [document]);
        let access_key_id = ID.to_owned();
        let switched = SetAccessKeyActive {
            access_key_id,
            active: false,
        };
        node.cluster.submit(switched).await.expect("switched off");
        assert!(!found(&node, ID).expect("there").active);
        let access_key_id = ID.to_owned();
        let deleted = node.cluster.submit(DeleteAccessKey { access_key_id });
        deleted.await.expect("deleted");
        assert!(found(&node, ID).is_none());
    });
}

#[test]
fn keys_that_are_kept_are_bounded_in_number_and_bytes() {
    run(&Simulation::new(41), 16, async || {
        let node = Node::start(&Shape::single(1, 8)).await;
        create_user(&node, "alice").await;
        create_key(&node, "alice", ID).await;
        let kept = found(&node, ID).expect("there");
        for number in 0..1024 {
            assert!(found(&node, &format!("NO_SUCH_KEY_{number:08}")).is_none());
        }
        let again = found(&node, ID).expect("there");
        assert!(
            Rc::ptr_eq(&kept, &again),
            "ids that are made up drive out none"
        );
        // Each of these users has half a MiB of policies.
        let spaces = " ".repeat(32 * 1024 - 2);
        let ids: Vec<String> = (0..33)
            .map(|number| format!("AKIA{number:0>16}X"))
            .collect();
        for (number, id) in ids.iter().enumerate() {
            let user = format!("user{number}");
            create_user(&node, &user).await;
            create_key(&node, &user, id).await;
            for policy in 0..16 {
                put_policy(
                    &node,
                    &user,
                    &format!("p{policy}"),
                    &format!("{{{spaces}}}"),
                )
                .await;
            }
        }
        let kept = policies(&node, "user0");
        assert!(Rc::ptr_eq(&kept, &policies(&node, "user0")));
        for number in 1..ids.len() {
            policies(&node, &format!("user{number}"));
        }
        let again = policies(&node, "user0");
        assert!(!Rc::ptr_eq(&kept, &again), "16 MiB are kept at most");
    });
}
