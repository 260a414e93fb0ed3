//! The rules, as nft and the kernel hold them.

use kvmc_netns::Change;
use kvmc_netns::nat::Nat;

use super::support::{BRIDGE, in_namespace, run};

fn nat() -> Nat {
    Nat {
        table: "kvmc_tb0".to_owned(),
        bridge: BRIDGE.to_owned(),
        subnet: "192.0.2.0/24".parse().unwrap(),
    }
}

fn ruleset() -> String {
    run("nft", &["list", "ruleset"])
}

#[test]
fn applied_twice_equals_once_and_removed_leaves_nothing() {
    in_namespace(async || {
        run("nft", &["add", "table", "inet", "of_others"]);
        let before = ruleset();
        assert!(!nat().present().unwrap());
        nat().apply().unwrap();
        let once = ruleset();
        assert!(nat().present().unwrap());
        assert!(once.contains("of_others"), "{once}");
        assert!(once.contains("masquerade"), "{once}");
        nat().apply().unwrap();
        assert_eq!(ruleset(), once);
        assert_eq!(nat().remove().unwrap(), Change::Removed);
        assert_eq!(ruleset(), before);
        assert_eq!(nat().remove().unwrap(), Change::Unchanged);
    });
}

#[test]
fn what_somebody_added_to_the_table_goes_when_it_is_applied_again() {
    in_namespace(async || {
        nat().apply().unwrap();
        let once = ruleset();
        let rule = "add rule inet kvmc_tb0 forward drop";
        run("nft", &[rule]);
        assert_ne!(ruleset(), once);
        nat().apply().unwrap();
        assert_eq!(ruleset(), once);
    });
}
