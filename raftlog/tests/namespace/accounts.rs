//! Accounts: what commands do, what they refuse and with which words, and what is found.

use strata_raftlog::namespace::command::{
    CreateAccount, CreateAccountKey, CreateBucket, DeleteAccessKey, DeleteAccount, DeleteBucket,
    Refusal, SetAccessKeyActive,
};
use strata_raftlog::namespace::{ACCOUNT_MAX, AccessKeySecret, ROOT_ACCOUNT};

use crate::support::Cluster;
use crate::users::{create_key, create_user, done, refused};

const NUMBER: u64 = 123_456_789_012;
const KEY: &str = "AKIA0000000000000001";

fn create(number: u64, name: &str) -> CreateAccount {
    CreateAccount {
        number,
        name: name.into(),
    }
}

fn key_of(number: u64, id: &str) -> CreateAccountKey {
    CreateAccountKey {
        number,
        access_key_id: id.into(),
        secret_access_key: AccessKeySecret(format!("hushhush/{id}")),
    }
}

fn bucket(name: &str, owner: u64) -> CreateBucket {
    CreateBucket {
        bucket: name.into(),
        owner,
        object_lock: false,
    }
}

#[test]
fn a_number_and_a_name_belong_to_one_account() {
    let mut cluster = Cluster::new();
    done(&mut cluster, create(NUMBER, "Research"));
    for (number, name) in [(NUMBER, "Other"), (NUMBER + 1, "Research")] {
        let taken = refused(&mut cluster, create(number, name));
        assert!(
            matches!(taken, Refusal::EntityAlreadyExists(_)),
            "{taken:?}"
        );
    }
    for (number, name) in [
        (0, "a"),
        (ROOT_ACCOUNT, "a"),
        (ACCOUNT_MAX + 1, "a"),
        (u64::MAX, "a"),
        (2, ""),
        (2, " a"),
        (2, "käse"),
    ] {
        let wrong = refused(&mut cluster, create(number, name));
        assert!(matches!(wrong, Refusal::Invalid(_)), "{wrong:?}");
    }
    done(&mut cluster, create(2, "Least"));
    done(&mut cluster, create(ACCOUNT_MAX, "Most"));
    let view = cluster.store.view().unwrap();
    let numbers = view.accounts().unwrap().into_iter();
    let numbers: Vec<u64> = numbers.map(|account| account.number).collect();
    assert_eq!(numbers, [2, NUMBER, ACCOUNT_MAX]);
    assert_eq!(view.account(ROOT_ACCOUNT).unwrap(), None);
}

#[test]
fn the_key_of_an_account_is_found_by_its_id_and_belongs_to_no_user() {
    let mut cluster = Cluster::new();
    let nobody = refused(&mut cluster, key_of(NUMBER, KEY));
    assert!(matches!(nobody, Refusal::NoSuchEntity(_)), "{nobody:?}");
    done(&mut cluster, create(NUMBER, "Research"));
    done(&mut cluster, create_user("Alice"));
    done(&mut cluster, key_of(NUMBER, KEY));
    for taken in [
        refused(&mut cluster, key_of(NUMBER, KEY)),
        refused(&mut cluster, create_key("Alice", KEY)),
    ] {
        assert!(
            matches!(taken, Refusal::EntityAlreadyExists(_)),
            "{taken:?}"
        );
    }
    let access_key_id = KEY.to_owned();
    done(
        &mut cluster,
        SetAccessKeyActive {
            access_key_id,
            active: false,
        },
    );
    let view = cluster.store.view().unwrap();
    let found = view.access_key(KEY).unwrap().unwrap();
    assert_eq!(
        (found.account, &*found.user, found.active),
        (NUMBER, "", false)
    );
    assert_eq!(view.account(NUMBER).unwrap().unwrap().access_key_ids, [KEY]);
    drop(view);
    let conflict = refused(&mut cluster, DeleteAccount { number: NUMBER });
    let why = "Cannot delete entity, must delete access keys first.";
    assert_eq!(conflict, Refusal::DeleteConflict(why.into()));
    let access_key_id = KEY.to_owned();
    done(&mut cluster, DeleteAccessKey { access_key_id });
    done(&mut cluster, DeleteAccount { number: NUMBER });
    let gone = refused(&mut cluster, DeleteAccount { number: NUMBER });
    assert!(matches!(gone, Refusal::NoSuchEntity(_)), "{gone:?}");
    // What it owned and what was granted to it comes to nobody else.
    let again = refused(&mut cluster, create(NUMBER, "Another"));
    assert!(
        matches!(again, Refusal::EntityAlreadyExists(_)),
        "{again:?}"
    );
    done(&mut cluster, create(NUMBER + 1, "Research"));
    let view = cluster.store.view().unwrap();
    assert_eq!(view.account(NUMBER).unwrap(), None);
    assert_eq!(view.accounts().unwrap().len(), 1);
    drop(view);
    done(&mut cluster, create_key("Alice", KEY));
}

#[test]
fn an_account_that_owns_a_bucket_stays_and_none_that_is_gone_owns_one() {
    let mut cluster = Cluster::new();
    let nobody = refused(&mut cluster, bucket("theirs", NUMBER));
    assert!(matches!(nobody, Refusal::NoSuchEntity(_)), "{nobody:?}");
    done(&mut cluster, create(NUMBER, "Research"));
    done(&mut cluster, bucket("theirs", NUMBER));
    let again = refused(&mut cluster, bucket("theirs", NUMBER));
    assert_eq!(again, Refusal::BucketAlreadyOwnedByYou);
    let by_another = refused(&mut cluster, bucket("theirs", ROOT_ACCOUNT));
    assert_eq!(by_another, Refusal::BucketAlreadyExists);
    let conflict = refused(&mut cluster, DeleteAccount { number: NUMBER });
    let why = "Cannot delete entity, must delete buckets first.";
    assert_eq!(conflict, Refusal::DeleteConflict(why.into()));
    let found = cluster.store.view().unwrap().bucket("theirs").unwrap();
    let inode = found.expect("created").inode;
    done(&mut cluster, DeleteBucket { bucket: inode });
    done(&mut cluster, DeleteAccount { number: NUMBER });
    done(&mut cluster, bucket("theirs", ROOT_ACCOUNT));
}
