use super::*;
use crate::samples::{record, secrets};
use crate::state::State as StateFolder;

/// A cluster's folder and its project's.
fn bench() -> (tempfile::TempDir, ClusterDir, ClusterRecord) {
    let temp = tempfile::tempdir().unwrap();
    let dir = StateFolder::at(&temp.path().join("s")).cluster("k80");
    std::fs::create_dir_all(dir.path()).unwrap();
    let mut record = record();
    record.project = temp.path().join("p");
    std::fs::create_dir(&record.project).unwrap();
    crate::state::replace_json(&dir.secrets(), &secrets(), 0o600).unwrap();
    (temp, dir, record)
}

fn left(folder: &Path) -> Vec<String> {
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    all
}

#[test]
fn files_that_are_gone_come_back_and_what_the_user_changed_stays() {
    let (_temp, dir, mut record) = bench();
    let told = write(&record, &secrets(), &dir, true).unwrap();
    assert!(told.is_empty() && look(&record, &dir).unwrap().is_empty());
    let at = |name: &str| record.project.join(name);
    std::fs::remove_file(at("id_rsa")).unwrap();
    std::fs::write(at("inventory"), "[mine]\n").unwrap();
    assert_eq!(look(&record, &dir).unwrap(), ["id_rsa"]);
    let told = write(&record, &secrets(), &dir, false).unwrap();
    assert!(
        told[0].contains("p/inventory is left, because it was changed"),
        "{told:?}"
    );
    assert_eq!(
        std::fs::read_to_string(at("inventory")).unwrap(),
        "[mine]\n"
    );
    assert!(at("id_rsa").exists());
    // What is as kvmc wrote it follows the settings, with or without its digest written down.
    std::fs::remove_file(dir.files()).unwrap();
    record.nodes.truncate(2);
    assert_eq!(look(&record, &dir).unwrap(), ["ssh_config", "known_hosts"]);
    write(&record, &secrets(), &dir, false).unwrap();
    let told = remove(Some(&record), &dir);
    assert_eq!(
        told,
        [format!(
            "not removed, because it was changed after kvmc wrote it: {}",
            at("inventory").display()
        )]
    );
    assert_eq!(left(&record.project), ["inventory"]);
}

#[test]
fn a_new_cluster_writes_over_nothing_that_came_in_between() {
    let (_temp, dir, record) = bench();
    std::fs::write(record.project.join("known_hosts"), "mine\n").unwrap();
    let error = write(&record, &secrets(), &dir, true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("known_hosts exists, but kvmc did not make it"),
        "{error}"
    );
    remove(Some(&record), &dir);
    assert_eq!(left(&record.project), ["known_hosts"]);
}

#[test]
fn a_folder_that_is_gone_is_in_nobodys_way() {
    let (_temp, dir, mut record) = bench();
    write(&record, &secrets(), &dir, true).unwrap();
    let moved = record.project.with_file_name("moved");
    std::fs::rename(&record.project, &moved).unwrap();
    assert!(look(&record, &dir).unwrap().is_empty());
    assert!(write(&record, &secrets(), &dir, false).unwrap().is_empty());
    assert!(!record.project.exists() && dir.artifact("inventory").exists());
    // Asked for by name, the folder is kvmc's to make.
    record.project = moved.join(".kvmc");
    let text = format!(
        "[files]\nfolder = {:?}\n",
        record.project.display().to_string()
    );
    record.spec = crate::samples::record_of_file(&text).spec;
    assert_eq!(look(&record, &dir).unwrap(), NAMES);
    write(&record, &secrets(), &dir, false).unwrap();
    assert_eq!(left(&record.project).len(), 5);
    assert!(remove(Some(&record), &dir).is_empty());
    assert!(!record.project.exists());
}

#[test]
fn of_an_older_kvmcs_files_the_changed_stay_and_the_rest_goes() {
    let (_temp, dir, record) = bench();
    let old = |folder: &Path| {
        format!(
            "# made by kvmc: ssh\n  IdentityFile \"{}/id_rsa\"\n",
            folder.display()
        )
    };
    for name in ["ssh_config", "inventory"] {
        std::fs::write(dir.artifact(name), old(dir.path())).unwrap();
        std::fs::write(record.project.join(name), old(&record.project)).unwrap();
    }
    assert_eq!(look(&record, &dir).unwrap(), NAMES);
    std::fs::write(record.project.join("inventory"), "# made by kvmc\nmore").unwrap();
    assert_eq!(remove(Some(&record), &dir).len(), 1);
    assert_eq!(left(&record.project), ["inventory"]);
}

#[test]
fn a_folder_has_the_files_of_one_cluster() {
    let (temp, dir, mut record) = bench();
    record.save(&dir).unwrap();
    let other = StateFolder::at(&temp.path().join("s")).cluster("two");
    let link = temp.path().join("link");
    std::os::unix::fs::symlink(&record.project, &link).unwrap();
    for folder in [&record.project, &link] {
        let error = check_clusters(folder, "two", &other).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("has the files of cluster `k80`"),
            "{error}"
        );
        let hint = crate::hint::hints(&error).join("");
        assert!(hint.contains(" --cluster two up --files .kvmc`"), "{hint}");
    }
    check_clusters(&record.project, "k80", &dir).unwrap();
    // Of another state folder.
    write(&record, &secrets(), &dir, true).unwrap();
    let far = StateFolder::at(&temp.path().join("far")).cluster("two");
    assert!(check_clusters(&record.project, "two", &far).is_err());
    let far = StateFolder::at(&temp.path().join("far")).cluster("k80");
    check_clusters(&record.project, "k80", &far).unwrap();
}
